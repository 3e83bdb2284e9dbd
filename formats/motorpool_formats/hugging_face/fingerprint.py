"""A model's identity from the little of it that is read."""

from __future__ import annotations

import hashlib
import json

from motorpool_formats.hugging_face.documents import Document
from motorpool_formats.protocols import Folder

TAIL_BYTES = 64 << 10
"""PyTorch's files are zip archives, whose last bytes list a checksum of every tensor."""


class Fingerprint:
    """A digest over names, sizes and what was read of a model's files, in the order in which they are given."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, name: str, size: int, content: bytes) -> None:
        """Take in a file by its content, or by the digest of its header."""
        for part in (name.encode(errors="surrogatepass"), size.to_bytes(8, "little"), content):
            self._digest.update(len(part).to_bytes(8, "little"))
            self._digest.update(part)

    def add_document(self, document: Document) -> None:
        """Take in a JSON file by what it says."""
        content = json.dumps(document.values, sort_keys=True).encode()
        self.add(document.file, len(content), content)

    def add_tail(self, folder: Folder, name: str) -> None:
        """Take in a file without a header by its last bytes."""
        with folder.open(name) as source:
            count = min(source.size, TAIL_BYTES)
            self.add(name, source.size, source.read(source.size - count, count))

    def text(self) -> str:
        """Return the digest as facts have it."""
        return f"sha256:{self._digest.hexdigest()}"
