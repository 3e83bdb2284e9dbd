"""Metrics and health over HTTP, from a thread of its own: it answers also while the event loop does not."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from motorpool_telemetry.counting import Histogram
from motorpool_telemetry.errors import TelemetryError
from motorpool_telemetry.pulse import Pulse

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

AT_ONCE = 8
"""Connections; one more is closed unanswered. Whoever scrapes has one."""
SECONDS = 10.0
"""How long a connection may say nothing."""

log = logging.getLogger(__name__)


class Exposition(ThreadingHTTPServer):
    """Serves ``/metrics``, ``/healthz`` and ``/readyz``; ``alive`` and ``ready`` return what is wrong, or nothing."""

    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        listen: str,
        registry: CollectorRegistry,
        *,
        alive: Callable[[], str],
        ready: Callable[[], str],
    ) -> None:
        self.registry = registry
        self.alive = alive
        self.ready = ready
        self._free = threading.BoundedSemaphore(AT_ONCE)
        host, _, port = listen.rpartition(":")
        host = host.strip("[]")
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, int(port)), _Handler)
        except OSError as error:
            raise TelemetryError(
                f"cannot listen on {listen} (metrics_listen): {error.strerror or error}; give another address, or "
                "leave the setting out"
            ) from error
        self.address = f"[{host}]:{self.server_port}" if ":" in host else f"{host}:{self.server_port}"
        """Where it is bound, its port known."""

    def process_request(self, request: object, client_address: object) -> None:
        """Answer in a thread, if one is left."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)  # type: ignore[arg-type]  # a socket, and where from
        else:
            self.shutdown_request(request)  # type: ignore[arg-type]

    def process_request_thread(self, request: object, client_address: object) -> None:
        """Answer, and leave the place to the next one."""
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of callers that leave in the middle, and all of faults of ours."""
        error = sys.exception()
        if not isinstance(error, OSError):
            log.error("metrics not answered", exc_info=error)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Exposition
    timeout = SECONDS
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:  # http.server's name
        """Answer."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._metrics()
        elif path == "/healthz":
            self._probe(self.server.alive())
        elif path == "/readyz":
            self._probe(self.server.ready())
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"there is /metrics, /healthz and /readyz\n")

    do_HEAD = do_GET  # noqa: N815  # as above

    def version_string(self) -> str:
        """Return what every answer says of who serves it: no version of anything."""
        return "motorpool"

    def log_message(self, *_: object) -> None:
        """Write no line a request."""

    def _metrics(self) -> None:
        from prometheus_client.exposition import choose_encoder  # noqa: PLC0415  # here it has long been loaded

        encode, content_type = choose_encoder(self.headers.get("Accept", ""))
        self._answer(HTTPStatus.OK, encode(self.server.registry), content_type)

    def _probe(self, fault: str) -> None:
        self._answer(HTTPStatus.SERVICE_UNAVAILABLE if fault else HTTPStatus.OK, f"{fault or 'ok'}\n".encode())

    def _answer(self, status: HTTPStatus, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@asynccontextmanager
async def exposed(
    listen: str,
    registry: CollectorRegistry,
    *,
    lag: Histogram,
    alive: Callable[[], str],
    ready: Callable[[], str],
) -> AsyncIterator[Exposition]:
    """Serve at ``host:port`` while the block lasts, and look after the event loop; raise a TelemetryError if it cannot.

    A loop that does not go on is neither alive nor ready; how late it is goes into ``lag``.
    """
    pulse = Pulse(lag)
    exposition = Exposition(
        listen, registry, alive=lambda: pulse.stalled() or alive(), ready=lambda: pulse.stalled() or ready()
    )
    # Its own look at whether it is to end is the longest that the end takes.
    thread = threading.Thread(
        target=exposition.serve_forever, kwargs={"poll_interval": 0.5}, name="metrics", daemon=True
    )
    thread.start()
    beating = asyncio.create_task(pulse.run(), name="pulse")
    log.info("metrics served", extra={"metrics_listen": exposition.address})
    try:
        yield exposition
    finally:
        beating.cancel()
        await asyncio.wait([beating])
        await asyncio.to_thread(exposition.shutdown)
        exposition.server_close()
