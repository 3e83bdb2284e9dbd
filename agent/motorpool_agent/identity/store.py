"""The identity on disk: ``<data-dir>/identity/``, swapped as a whole."""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec

from motorpool_agent.identity.errors import CorruptStateError

_DOCUMENT = "identity.json"
_FILES = ("key.pem", "certificate.pem", "ca.pem", _DOCUMENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What ``identity.json`` says. ``node`` is ``nodes/{node}``; ``agent_endpoints`` are ``host:port``."""

    cluster_id: str
    node: str
    node_uid: str
    agent_endpoints: tuple[str, ...]
    renew_time: datetime
    expire_time: datetime
    enrollment_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What the node shows to the controller, and what it trusts. All PEM."""

    document: Document
    key_pem: str = field(repr=False)
    certificate_pem: str
    ca_pem: str


class IdentityStore:
    """The files of one node's identity.

    A new identity is written into ``next/``, whose appearance is the moment it counts; then its files move into place.
    A crash at any point leaves the old identity or the new one, never the key of one and the certificate of the other.
    """

    def __init__(self, data_dir: Path) -> None:
        self.directory = data_dir / "identity"

    def load(self) -> Identity | None:
        """Return the identity; None before the first enrolment."""
        try:
            self._roll_forward()
        except OSError as error:
            raise self._corrupt(f"{error.filename} cannot be moved: {error.strerror}") from error
        return self.peek()

    def peek(self) -> Identity | None:
        """Return the identity and leave its files as they are: they may be another process's to move."""
        try:
            texts = {name: self._text(name) for name in _FILES}
            document = msgspec.json.decode(texts[_DOCUMENT], type=Document)
        except FileNotFoundError as error:
            if not (self.directory / _DOCUMENT).exists():
                return None
            raise self._corrupt(f"{error.filename} is missing") from error
        except OSError as error:
            raise self._corrupt(f"{error.filename} cannot be read: {error.strerror}") from error
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._corrupt(f"{_DOCUMENT} cannot be understood: {error}") from error
        if not document.agent_endpoints:
            raise self._corrupt(f"{_DOCUMENT} names no endpoint")
        return Identity(
            document=document,
            key_pem=texts["key.pem"],
            certificate_pem=texts["certificate.pem"],
            ca_pem=texts["ca.pem"],
        )

    def save(self, identity: Identity) -> None:
        """Replace the identity; when this returns, it is on disk."""
        draft = self.directory / "next.draft"
        self._make_directory()
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        texts = (
            identity.key_pem,
            identity.certificate_pem,
            identity.ca_pem,
            msgspec.json.format(msgspec.json.encode(identity.document).decode(), indent=2),
        )
        for name, text in zip(_FILES, texts, strict=True):
            _write(draft / name, text)
        _sync(draft)
        self._roll_forward()
        draft.rename(self.directory / "next")
        _sync(self.directory)
        self._roll_forward()

    def enrollment_id(self) -> str:
        """Return the id under which this machine enrols; made once, so that asking twice gets the same node."""
        path = self.directory / "enrollment_id"
        try:
            found = path.read_text("ascii").strip()
        except FileNotFoundError:
            found = ""
        except (OSError, UnicodeDecodeError) as error:
            raise self._corrupt(f"{path} cannot be read: {error}") from error
        if not found:
            found = secrets.token_hex(16)
            self._make_directory()
            draft = path.with_name("enrollment_id.draft")
            draft.unlink(missing_ok=True)
            _write(draft, found + "\n")
            draft.rename(path)
            _sync(self.directory)
        return found

    def _make_directory(self) -> None:
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise CorruptStateError(
                f"{self.directory} cannot be made: {error.strerror}; "
                "give a directory that this user can write with --data-dir"
            ) from error

    def _text(self, name: str) -> str:
        try:
            return (self.directory / "next" / name).read_text("utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return (self.directory / name).read_text("utf-8")

    def _roll_forward(self) -> None:
        coming = self.directory / "next"
        if not coming.is_dir():
            return
        for name in _FILES:
            if (coming / name).exists():
                (coming / name).rename(self.directory / name)
        _sync(self.directory)
        coming.rmdir()

    def _corrupt(self, what: str) -> CorruptStateError:
        return CorruptStateError(
            f"the node's identity in {self.directory} cannot be used: {what}; restore the folder from a backup, or "
            "delete it and enrol again with `motorpool-agent enroll --server … --token …` "
            "(after the node was deleted on the controller)"
        )


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
