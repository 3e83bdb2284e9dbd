"""Stands for MindIE in a container: told by nothing but the files at their places, it serves what they say."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

CONFIGURATION = Path("/usr/local/Ascend/mindie/latest/mindie-service/conf/config.json")

told = json.loads(CONFIGURATION.read_text(encoding="utf-8"))
model = told["BackendConfig"]["ModelDeployConfig"]["ModelConfig"][0]
weights = Path(model["modelWeightPath"])


class Handler(BaseHTTPRequestHandler):
    """Answers every path with what it was told, and with what the model's own files say here."""

    def do_GET(self) -> None:  # http.server's name
        files = {path.name: path.read_text(encoding="utf-8") for path in sorted(weights.glob("*.json"))}
        said = {"told": told, "files": files, "mode": CONFIGURATION.stat().st_mode & 0o777}
        # The list of models, as OpenAI's API has it, is in every answer, too.
        body = json.dumps({**said, "data": [{"id": model["modelName"]}]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Say nothing."""


HTTPServer((told["ServerConfig"]["ipAddress"], told["ServerConfig"]["port"]), Handler).serve_forever()
