"""faster-whisper as a server: POST /v1/audio/transcriptions, as OpenAI's API has it, answers with what was said."""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
import threading
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from faster_whisper import WhisperModel

MOST_BYTES = 25 * 1024 * 1024


class Server(ThreadingHTTPServer):
    """Serves one model, a request at a time: they share the same processors."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], model: WhisperModel, name: str, api_key: str) -> None:
        self.model, self.name, self.api_key = model, name, api_key
        self._turn = threading.Lock()
        super().__init__(address, Handler)

    def transcribe(self, audio: bytes) -> str:
        """Return what is said in a file of sound."""
        with self._turn:
            segments, _ = self.model.transcribe(io.BytesIO(audio), temperature=0.0)
            return "".join(segment.text for segment in segments).strip()


class Handler(BaseHTTPRequestHandler):
    """The three paths that are asked for."""

    server: Server

    def do_GET(self) -> None:  # http.server's name
        """Say that it is up, or which model it has."""
        if self.path == "/health":
            self._send(200, {"status": "ok"})
        elif self.path == "/v1/models":
            self._send(200, {"object": "list", "data": [{"id": self.server.name, "object": "model"}]})
        else:
            self._send(404, {"error": {"message": f"there is no {self.path}"}})

    def do_POST(self) -> None:  # http.server's name
        """Write down what was sent."""
        length = int(self.headers.get("content-length") or 0)
        if length > MOST_BYTES:
            self._send(413, {"error": {"message": f"{length} bytes are too many; send {MOST_BYTES} at most"}})
            return
        body = self.rfile.read(length)
        if self.server.api_key and self.headers.get("authorization") != f"Bearer {self.server.api_key}":
            self._send(401, {"error": {"message": "the API key is missing or wrong"}})
            return
        audio = _file(self.headers.get("content-type") or "", body)
        if self.path != "/v1/audio/transcriptions" or audio is None:
            self._send(400, {"error": {"message": "POST a form with a file to /v1/audio/transcriptions"}})
            return
        try:
            self._send(200, {"text": self.server.transcribe(audio)})
        except (ValueError, OSError) as error:  # what libav says of a file that is no sound
            self._send(400, {"error": {"message": f"the file cannot be heard: {error}"}})

    def _send(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _file(content_type: str, body: bytes) -> bytes | None:
    """Return the form's part ``file``; None where there is none."""
    form = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    for part in form.iter_parts() if form.is_multipart() else ():
        if part.get_param("name", header="content-disposition") == "file":
            content = part.get_payload(decode=True)
            return content if isinstance(content, bytes) else None
    return None


def main() -> None:
    """Load the model, then serve until TERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="the model's folder, in CTranslate2's format")
    parser.add_argument("--name", default="whisper", help="what it is called in answers")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--threads", type=int, default=0, help="processors that one request uses; 0 for the library's")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    model = WhisperModel(options.model, device="cpu", compute_type="int8", cpu_threads=options.threads)
    key = os.environ.get("WHISPER_API_KEY", "")
    with Server((options.host, options.port), model, options.name, key) as server:
        print(f"serving {options.model} at {options.host} port {options.port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
