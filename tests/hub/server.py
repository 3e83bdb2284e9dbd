"""A hub on loopback: the routes that clients of Hugging Face and ModelScope use, and a second host for large files.

Real enough for the real client: commits, LFS sizes and hashes, redirects, ranges, tokens, gates, and the headers by
which errors are told apart.
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub.contents import Content, Repository
from tests.hub.troubles import Trouble, Troubles

STEP = 64 << 10


@dataclass
class Seen:
    """One request, noted before it is answered, and how many bytes of a body answered it so far."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    """By name in lower case."""
    large: bool
    """Whether the other host answered it."""
    status: int = 0
    body_bytes: int = 0


class LocalHub:
    """Two servers in threads, for the time of a block."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.troubles = Troubles()
        self.seen: list[Seen] = []
        self._hub = _serve(self, _HubHandler)
        self._large = _serve(self, _LargeHandler)
        self.endpoint = f"http://127.0.0.1:{self._hub.server_port}"
        # Another name of this machine: tokens are for one host, and this is another.
        self.large_endpoint = f"http://localhost:{self._large.server_port}"

    def add(self, name: str, files: dict[str, Any], **more: Any) -> Repository:
        """Make a repository with one commit on its default branches."""
        made = self.repositories.setdefault(name, Repository(name, **more))
        made.branches["master"] = made.commit(files)
        return made

    def trouble(self, match: str, **how: Any) -> None:
        """Have requests that match go wrong."""
        self.troubles.add(Trouble(match, **how))

    @property
    def body_bytes(self) -> int:
        """What it has sent, headers aside."""
        return sum(each.body_bytes for each in self.seen)

    def paths(self) -> list[str]:
        """Return what was asked for, in order."""
        return [f"{each.method} {each.path}" for each in self.seen]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.troubles.release()
        for server in (self._hub, self._large):
            server.shutdown()
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: LocalHub

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave in the middle are what is tested."""


def _serve(hub: LocalHub, handler: type[_Handler]) -> _Server:
    server = _Server(("127.0.0.1", 0), handler)
    server.hub = hub
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    large = False

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._handle()

    def do_GET(self) -> None:
        self._handle()

    def route(self, path: str, query: dict[str, str]) -> None:
        raise NotImplementedError

    @property
    def hub(self) -> LocalHub:
        return self.server.hub

    @property
    def token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.seen = Seen(self.command, parts.path, parts.query, headers, self.large)
        self.hub.seen.append(self.seen)
        self.trouble = self.hub.troubles.take(f"{self.command} {parts.path}")
        if self.trouble.until is not None and not self.trouble.drip and self.trouble.hold is None:
            self.trouble.until.wait(60)
        if self.trouble.status:
            self.send(self.trouble.status, self.trouble.body, self.trouble.headers)
        else:
            self.route(unquote(parts.path), {key: values[0] for key, values in parse_qs(parts.query).items()})

    def send(self, status: int, body: bytes = b"", headers: Any = None) -> None:
        self.send_content(status, Content(body, len(body)), 0, len(body), headers or {})

    def send_json(self, value: object) -> None:
        self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def send_error_code(self, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
        self.send(status, json.dumps({"error": message}).encode(), headers)

    def send_file(self, content: Content, headers: dict[str, str]) -> None:
        """Send a file, or the range of it that was asked for."""
        given = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if given is None or self.trouble.whole:
            self.send_content(200, content, 0, content.size, {"Accept-Ranges": "bytes", **headers})
            return
        start = int(given[1]) + self.trouble.shift
        end = min(int(given[2]) if given[2] else content.size - 1, content.size - 1)
        if start >= content.size:
            self.send(416, b"", {"Content-Range": f"bytes */{content.size}"})
            return
        ranged = {"Content-Range": f"bytes {start}-{end}/{content.size}", "Accept-Ranges": "bytes", **headers}
        self.send_content(206, content, start, end + 1 - start, ranged)

    def send_content(self, status: int, content: Content, start: int, count: int, headers: Any) -> None:
        self.seen.status = status
        self.send_response(status)
        for name, value in {"Content-Length": str(count), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        end = start + count if self.trouble.cut is None else start + min(count, self.trouble.cut)
        step = 1 if self.trouble.drip else STEP
        for offset in range(start, end, step):
            if self.trouble.hold is not None and self.trouble.until is not None and offset >= self.trouble.hold:
                self.wfile.flush()
                self.trouble.until.wait(60)
            piece = content.read(offset, min(step, end - offset))
            if self.trouble.spoil:
                piece = bytes(byte ^ 0xFF for byte in piece)
            self.seen.body_bytes += len(piece)
            self.wfile.write(piece)
            if self.trouble.drip and self.trouble.until is not None and self.trouble.until.wait(0.05):
                break
        if self.trouble.cut is not None or self.trouble.drip:
            self.close_connection = True


class _HubHandler(_Handler):
    """The hub itself."""

    def route(self, path: str, query: dict[str, str]) -> None:
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self._info(found[1], found[2] or "main")
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            self._tree(found[1], found[2])
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._resolve(found[1], found[2], found[3])
        elif found := re.fullmatch(r"/api/v1/models/([^/]+/[^/]+)/repo/files", path):
            self._model_scope_files(found[1], query)
        elif found := re.fullmatch(r"/api/v1/models/([^/]+/[^/]+)/repo", path):
            self._model_scope_file(found[1], query)
        else:
            self.send_error_code(404, "", "Sorry, we can't find the page you are looking for.")

    def _visible(self, name: str) -> Repository | None:
        """Return a repository that the caller may know of, else answer as hubs do."""
        found = self.hub.repositories.get(name)
        if found is not None and (found.tokens is None or self.token in found.tokens):
            return found
        if self.token == "wrong":
            self.send_error_code(401, "", "Invalid credentials in Authorization header")
        elif self.token:
            self.send_error_code(404, "RepoNotFound", "Repository not found")
        else:
            self.send_error_code(401, "RepoNotFound", "Invalid username or password.")
        return None

    def _info(self, name: str, revision: str) -> None:
        repository = self._visible(name)
        if repository is None:
            return
        commit = repository.resolve(revision)
        if commit is None:
            self.send_error_code(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        self.send_json(
            {
                "_id": "0",
                "id": name,
                "modelId": name,
                "sha": commit,
                "private": repository.tokens is not None,
                "gated": "auto" if repository.gated is not None else False,
                "siblings": [_sibling(file, content) for file, content in repository.commits[commit].items()],
            }
        )

    def _tree(self, name: str, revision: str) -> None:
        repository = self._visible(name)
        if repository is None:
            return
        commit = repository.resolve(revision)
        if commit is None:
            self.send_error_code(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        self.send_json([_entry(file, content) for file, content in repository.commits[commit].items()])

    def _resolve(self, name: str, revision: str, file: str) -> None:
        repository = self._visible(name)
        if repository is None:
            return
        if repository.gated is not None and self.token not in repository.gated:
            self.send_error_code(403 if self.token else 401, "GatedRepo", f"Access to model {name} is restricted.")
            return
        commit = repository.resolve(revision)
        content = None if commit is None else repository.commits[commit].get(file)
        if commit is None or content is None:
            self.send_error_code(404, "RevisionNotFound" if commit is None else "EntryNotFound", "Entry not found")
            return
        headers = {"X-Repo-Commit": commit, "ETag": f'"{content.sha256}"'}
        if content.large:
            linked = {"X-Linked-Size": str(content.size), "X-Linked-ETag": f'"{content.sha256}"'}
            location = f"{self.hub.large_endpoint}/{content.sha256}?signature=made-up"
            self.send(302, b"Found", {**headers, **linked, "Location": location})
        else:
            self.send_file(content, headers)

    def _model_scope_files(self, name: str, query: dict[str, str]) -> None:
        found = self.hub.repositories.get(name)
        if found is None or (found.tokens is not None and self.token not in found.tokens):
            self.send(404, json.dumps({"Code": 10010205001, "Message": "record not found", "Success": False}).encode())
            return
        commit = found.resolve(query.get("Revision", "master"))
        if commit is None:
            self.send_json({"Code": 10010205002, "Message": "the revision does not exist", "Success": False})
            return
        files = [
            {"Path": file, "Name": file.rpartition("/")[2], "Type": "blob", "Size": each.size, "Sha256": each.sha256}
            for file, each in found.commits[commit].items()
        ]
        self.send_json({"Code": 200, "Message": "", "Success": True, "Data": {"Files": files}})

    def _model_scope_file(self, name: str, query: dict[str, str]) -> None:
        found = self.hub.repositories.get(name)
        commit = None if found is None else found.resolve(query.get("Revision", "master"))
        content = None if found is None or commit is None else found.commits[commit].get(query.get("FilePath", ""))
        if content is None:
            self.send(404, b'{"Code": 10010205001, "Message": "file not found"}')
        elif content.large:
            self.send(302, b"", {"Location": f"{self.hub.large_endpoint}/{content.sha256}"})
        else:
            self.send_file(content, {})


class _LargeHandler(_Handler):
    """The host of large files: it knows hashes, and nobody."""

    large = True

    def route(self, path: str, query: dict[str, str]) -> None:
        contents = (
            content
            for repository in self.hub.repositories.values()
            for files in repository.commits.values()
            for content in files.values()
        )
        content = next((each for each in contents if each.sha256 == path.strip("/")), None)
        if content is None:
            self.send(404)
        elif self.headers.get("Authorization") or self.headers.get("Cookie"):
            self.send(400, b"Only one auth mechanism allowed")  # as stores with signed addresses do
        else:
            self.send_file(content, {"ETag": f'"{content.sha256}"'})


def _entry(file: str, content: Content) -> dict[str, object]:
    shown: dict[str, object] = {"type": "file", "path": file, "size": content.size, "oid": content.git_sha1}
    if content.large:
        shown["lfs"] = {"oid": content.sha256, "size": content.size, "pointerSize": 135}
    return shown


def _sibling(file: str, content: Content) -> dict[str, object]:
    shown: dict[str, object] = {"rfilename": file, "size": content.size, "blobId": content.git_sha1}
    if content.large:
        shown["lfs"] = {"size": content.size, "sha256": content.sha256, "pointerSize": 135}
    return shown
