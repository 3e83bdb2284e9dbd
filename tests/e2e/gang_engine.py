"""A stand-in for an engine over two nodes: what it computes the other member computes with it, over the port reserved.

It takes vLLM's arguments, and behaves as vLLM does when a member is gone: the leader is well, and answers nothing; the
follower stays. Nothing but the standard library, so that it makes an image by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SHARED = Path("/dev/shm/motorpool-test-gang")
SHARED_BYTES = 80 * 2**20
"""More than containers have of shared memory where nobody says otherwise."""


def main() -> None:
    """Lead or follow, until it is told to end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    for name in ("host", "served-model-name", "master-addr"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("port", "nnodes", "node-rank", "master-port"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--headless", action="store_true")
    options, _ = parser.parse_known_args()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    assert (options.model / "config.json").is_file(), "the model is not mounted"
    meeting = (options.master_addr, options.master_port)
    if options.node_rank:
        assert options.headless
        follow(meeting)
    else:
        share()
        lead(meeting, options)


def share() -> None:
    """Use shared memory as collective libraries do."""
    with SHARED.open("wb") as file:
        for _ in range(SHARED_BYTES >> 20):
            file.write(bytes(2**20))
    SHARED.unlink()
    print(f"wrote {SHARED_BYTES} bytes of shared memory", flush=True)


def follow(meeting: tuple[str, int]) -> None:
    """Answer the leader, and stay when it is gone."""
    leader = reached(meeting)
    print(f"joined {meeting[0]}:{meeting[1]}", flush=True)
    leader.settimeout(None)
    with leader.makefile("rwb") as stream:
        for line in stream:
            stream.write(line.upper())
            stream.flush()
    print("the leader is gone", flush=True)
    signal.pause()


def reached(meeting: tuple[str, int]) -> socket.socket:
    """Return a connection to the leader, whenever it comes up."""
    while True:
        try:
            return socket.create_connection(meeting, 5)
        except OSError:
            time.sleep(0.1)


def lead(meeting: tuple[str, int], options: argparse.Namespace) -> None:
    """Meet the follower, and serve what it computes."""
    with socket.create_server(meeting) as listener:
        follower, _ = listener.accept()
    follower.settimeout(5)
    stream, turn = follower.makefile("rwb"), threading.Lock()
    key = os.environ.get("VLLM_API_KEY", "")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/health":
                self.answer(200, {})
            elif self.path == "/v1/models" and self.allowed():
                self.answer(200, {"object": "list", "data": [{"id": options.served_model_name}]})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not self.allowed():
                return
            try:
                with turn:
                    stream.write(f"{asked['prompt']}\n".encode())
                    stream.flush()
                    said = stream.readline().decode()
                if not said:
                    raise ConnectionError("the follower is gone")
                self.answer(200, {"choices": [{"text": said.strip()}]})
            except OSError as error:
                self.answer(500, {"error": str(error)})

        def allowed(self) -> bool:
            if self.headers["Authorization"] == f"Bearer {key}":
                return True
            self.answer(401, {})
            return False

        def answer(self, status: int, body: dict[str, object]) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None: ...

    ThreadingHTTPServer((options.host, options.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
