"""A registry of images in small: what the protocol's two GETs need, on loopback, where Docker wants no TLS."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


class Registry:
    """Serves one image of one layer, whose bytes come only as far as ``gate`` is open."""

    def __init__(self, content: bytes) -> None:
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as archive:
            entry = tarfile.TarInfo("content")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        plain = layer.getvalue()
        packed = gzip.compress(plain, compresslevel=0)
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Cmd": ["/content"]},
                "rootfs": {"type": "layers", "diff_ids": [_digest(plain)]},
            }
        ).encode()
        self.layer_bytes = len(packed)
        self.gate = threading.Event()
        self._blobs = {_digest(packed): packed, _digest(config): config}
        self._manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": {"mediaType": _CONFIG, "size": len(config), "digest": _digest(config)},
                "layers": [{"mediaType": _LAYER, "size": len(packed), "digest": _digest(packed)}],
            }
        ).encode()
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                # An engine without room breaks off.
                with contextlib.suppress(ConnectionError):
                    registry.answer(self)

            def do_HEAD(self) -> None:
                registry.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.image = f"127.0.0.1:{self._server.server_address[1]}/engine:1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        kind, content = "application/json", b"{}"
        name = request.path.rpartition("/")[2]
        if request.path.startswith("/v2/engine/manifests/"):
            kind, content = _MANIFEST, self._manifest
        elif name in self._blobs:
            kind, content = "application/octet-stream", self._blobs[name]
        elif request.path != "/v2/":
            request.send_error(404)
            return
        request.send_response(200)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(content)))
        request.send_header("Docker-Content-Digest", _digest(content))
        request.end_headers()
        if request.command == "GET":
            half = len(content) // 2 if len(content) == self.layer_bytes else 0
            request.wfile.write(content[:half])
            if half:
                self.gate.wait(60)
            request.wfile.write(content[half:])


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
