"""A plain HTTP server whose "model" is a text file: it answers a chat with the line that shares most words with it.

It stands for any server of yours. All that Motorpool asks of one: listen where it is told, answer a path with 200 when
it can serve, and end on TERM.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_WORD = re.compile(r"\w+")


class Server(ThreadingHTTPServer):
    """Serves the lines of one file."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], phrases: list[str], name: str, greeting: str, api_key: str) -> None:
        self.phrases, self.model, self.greeting, self.api_key = phrases, name, greeting, api_key
        super().__init__(address, Handler)

    def answer(self, question: str) -> str:
        """Return the phrase that shares most words with a question, the first of equals."""
        asked = set(_WORD.findall(question.lower()))
        best = max(self.phrases, key=lambda phrase: len(asked & set(_WORD.findall(phrase.lower()))))
        return f"{self.greeting}{best}"


class Handler(BaseHTTPRequestHandler):
    """The three paths that a chat wants."""

    server: Server

    def do_GET(self) -> None:  # http.server's name
        """Say that it is up, or which model it has."""
        if self.path == "/health":
            self._send(200, {"status": "ok"})
        elif self.path == "/v1/models":
            self._send(200, {"object": "list", "data": [{"id": self.server.model, "object": "model"}]})
        else:
            self._send(404, {"error": {"message": f"there is no {self.path}"}})

    def do_POST(self) -> None:  # http.server's name
        """Answer a chat."""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.server.api_key and self.headers.get("authorization") != f"Bearer {self.server.api_key}":
            self._send(401, {"error": {"message": "the API key is missing or wrong"}})
            return
        try:
            question = json.loads(body)["messages"][-1]["content"]
        except (ValueError, LookupError, TypeError):
            self._send(400, {"error": {"message": "send messages, as to any chat"}})
            return
        said = {"role": "assistant", "content": self.server.answer(str(question))}
        self._send(200, {"model": self.server.model, "choices": [{"index": 0, "message": said}]})

    def _send(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Read the file, then serve until TERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phrases", type=Path, required=True, help="the file, a phrase a line")
    parser.add_argument("--name", default="phrasebook", help="what it is called in answers")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--greeting", default="", help="said before every answer")
    options = parser.parse_args()
    phrases = [line for line in options.phrases.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not phrases:
        sys.exit(f"{options.phrases} has no phrase; write one a line")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    key = os.environ.get("PHRASEBOOK_API_KEY", "")
    with Server((options.host, options.port), phrases, options.name, options.greeting, key) as server:
        print(f"serving {len(phrases)} phrases of {options.phrases} at {options.host} port {options.port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
