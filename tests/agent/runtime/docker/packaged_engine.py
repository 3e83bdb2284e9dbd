"""Stands for an image's own server: it serves what a package says that the image does not bring."""

import importlib
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

greeting = importlib.import_module("greeting")


class Handler(BaseHTTPRequestHandler):
    """Answers every path with the package's words, and the arguments that the image's entrypoint got."""

    def do_GET(self) -> None:  # http.server's name
        body = f"{greeting.WORDS} {sys.argv[3:]}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Say nothing."""


HTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
