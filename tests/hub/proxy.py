"""An HTTP proxy on loopback that knows hubs by names which nobody else knows."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class Proxy:
    """Passes requests for known hosts on, for the time of a block, and notes which hosts were asked for."""

    def __init__(self, hosts: Mapping[str, str]) -> None:
        self.hosts = hosts
        self.seen: list[str] = []
        self._server = _Server(self)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._pass_on()

    def do_GET(self) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        asked = urlsplit(self.path)
        self.server.proxy.seen.append(asked.netloc)
        known = self.server.proxy.hosts.get(asked.netloc)
        if known is None:
            self.send_error(502)
            return
        onward = http.client.HTTPConnection(urlsplit(known).netloc, timeout=30)
        path = asked._replace(scheme="", netloc="").geturl()
        onward.request(self.command, path, headers={**self.headers, "Connection": "close"})
        answer = onward.getresponse()
        body = answer.read()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() != "connection":
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        onward.close()
