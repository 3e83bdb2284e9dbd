"""The cluster's authorities: one, and two while one takes the other's place.

A rotation is one file, ``ca-rotation.json``, replaced at once at each step, by a command beside the controller, which
looks at the file whenever it needs an authority. ``ca.pem`` lists what clients are to trust; its first certificate is
that of ``ca-key.pem``.

========== ==================== ======================= ==========================
step       agents' certificates the server's            clients' that are let in
========== ==================== ======================= ==========================
none       the authority's      the authority's         the authority's
OVERLAP    the new one's        the old one's           both
SWITCHED   the new one's        the new one's           both
FINISHING  the new one's        the new one's           the new one's
========== ==================== ======================= ==========================

FINISHING lasts while the new one is written into the old one's place.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Self

import msgspec
from cryptography import x509

from motorpool_controller.security.authority import (
    KEY_FILE,
    Authority,
    ca_file,
    give_to_owner,
    read_private,
    refuse_loose,
    sync_folder,
    write_over,
)
from motorpool_controller.security.errors import AuthorityError

if sys.platform != "win32":
    import fcntl

ROTATION_FILE = "ca-rotation.json"
_LOCK = "ca.lock"
_FORMAT = 1

log = logging.getLogger(__name__)


class Step(StrEnum):
    """How far a rotation is."""

    OVERLAP = "OVERLAP"
    SWITCHED = "SWITCHED"
    FINISHING = "FINISHING"


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """What the file says."""

    format: int
    step: Step
    begin_time: datetime
    switch_time: datetime | None = None
    certificate_pem: str
    key_pem: str

    def __repr__(self) -> str:
        """Return it without the key."""
        return f"Rotation(step={self.step.value}, begin_time={self.begin_time.isoformat()})"


@dataclass(frozen=True)
class Trust:
    """Which authority does what now. ``trusted`` are those in the order of ``ca.pem``."""

    signing: Authority
    serving: Authority
    trusted: tuple[Authority, ...]
    rotation: Rotation | None = None

    @cached_property
    def pem(self) -> str:
        """The certificates of all that are trusted, which everyone may know."""
        return "".join(each.pem for each in self.trusted)

    @cached_property
    def fingerprints(self) -> frozenset[str]:
        """Of all that are trusted."""
        return frozenset(each.fingerprint for each in self.trusted)

    @property
    def known_by(self) -> tuple[str, ...]:
        """Fingerprints by which controllers tell whether they have the same: that which signs first."""
        return (self.signing.fingerprint, *sorted(self.fingerprints - {self.signing.fingerprint}))

    def signer(self, pem: bytes) -> str:
        """Return the fingerprint of the trusted authority that signed a certificate; empty where none did."""
        certificate = x509.load_pem_x509_certificate(pem)
        return next((each.fingerprint for each in self.trusted if each.signed(certificate)), "")


class Authorities:
    """What the data directory says of authorities, read anew whenever a step was taken."""

    def __init__(self, directory: Path, cluster_id: str) -> None:
        self.cluster_id = cluster_id
        self._directory = directory
        # As text: it is looked at with every heartbeat.
        self._file = str(directory / ROTATION_FILE)
        self._seen = _stamp(self._file)
        self._trust = load(directory, cluster_id)

    @classmethod
    def settled(cls, directory: Path, cluster_id: str) -> Self:
        """Return them for a controller that starts: a step that a crash interrupted is carried to its end first."""
        with held(directory):
            settle(directory, cluster_id)
        return cls(directory, cluster_id)

    def present(self) -> Trust:
        """Return what holds now; may be called in any thread."""
        stamp = _stamp(self._file)
        if stamp != self._seen:
            try:
                self._trust = load(self._directory, self.cluster_id)
            except AuthorityError as error:
                log.error("authorities not read anew; those of before hold", extra={"error": str(error)})  # noqa: TRY400
            else:
                self._seen = stamp
                rotation = self._trust.rotation
                log.warning("the cluster's authorities changed", extra={"step": rotation.step if rotation else "none"})
        return self._trust


def load(directory: Path, cluster_id: str) -> Trust:
    """Return which authority does what; raise an AuthorityError."""
    rotation = read_rotation(directory)
    if rotation is None:
        only = Authority.load(directory, cluster_id)
        return Trust(signing=only, serving=only, trusted=(only,))
    coming = _coming(directory, cluster_id, rotation)
    if rotation.step is Step.FINISHING:
        return Trust(signing=coming, serving=coming, trusted=(coming,), rotation=rotation)
    going = Authority.load(directory, cluster_id)
    serving = going if rotation.step is Step.OVERLAP else coming
    return Trust(signing=coming, serving=serving, trusted=(going, coming), rotation=rotation)


def read_rotation(directory: Path) -> Rotation | None:
    """Return the rotation that is under way; raise an AuthorityError where its file cannot be used."""
    path = directory / ROTATION_FILE
    try:
        content, mode = read_private(path)
        rotation = msgspec.json.decode(content, type=Rotation)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        # The decoder's words name a place in the file, never what stands there.
        raise AuthorityError(f"{path} cannot be read: {error}; restore it from a backup") from error
    refuse_loose(path, mode)
    if rotation.format != _FORMAT:
        raise AuthorityError(
            f"{path} is of a form that this motorpool-controller does not know (format {rotation.format}, here "
            f"{_FORMAT}); run the version that wrote it, or a later one"
        )
    return rotation


def write_rotation(directory: Path, rotation: Rotation) -> None:
    """Take a step: from now on it holds."""
    write_over(directory / ROTATION_FILE, msgspec.json.encode(rotation), 0o600)


def begun(directory: Path, cluster_id: str, now: datetime) -> Rotation:
    """Begin a rotation: make another authority, and have both trusted."""
    going = Authority.load(directory, cluster_id)
    # Of another name than its predecessor's: some clients look for an issuer by its name alone.
    coming = Authority.make(cluster_id, now, f"Motorpool cluster {cluster_id} {os.urandom(4).hex()}")
    rotation = Rotation(
        format=_FORMAT, step=Step.OVERLAP, begin_time=now, certificate_pem=coming.pem, key_pem=coming.key_pem
    )
    write_rotation(directory, rotation)
    log.debug("rotation begun", extra={"old": going.fingerprint, "new": coming.fingerprint})
    settle(directory, cluster_id)
    return rotation


def settle(directory: Path, cluster_id: str) -> None:
    """Make the files for others say what the rotation's file does; doing it twice changes nothing."""
    rotation = read_rotation(directory)
    if rotation is None:
        return
    if rotation.step is Step.FINISHING:
        coming = _coming(directory, cluster_id, rotation)
        write_over(directory / KEY_FILE, coming.key_pem.encode(), 0o600)
        write_over(ca_file(directory), coming.pem.encode(), 0o644)
        with suppress(FileNotFoundError):
            (directory / ROTATION_FILE).unlink()
        sync_folder(directory)
        return
    # In this order whatever the step: the first is that of ca-key.pem.
    bundle = (Authority.load(directory, cluster_id).pem + rotation.certificate_pem).encode()
    if ca_file(directory).read_bytes() != bundle:
        write_over(ca_file(directory), bundle, 0o644)


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Have the authorities' files for oneself: steps and backups wait for each other."""
    lock = directory / _LOCK
    try:
        # Not through a link: root gives the file away.
        flags = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | flags, 0o600)
    except OSError as error:
        raise AuthorityError(
            f"{lock} cannot be opened: {error.strerror}; run this as the user of the controller"
        ) from error
    try:
        give_to_owner(descriptor, directory)
        if sys.platform != "win32":
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    except OSError as error:
        raise AuthorityError(f"{directory} cannot be used: {error.strerror or error}; then try again") from error
    finally:
        os.close(descriptor)


def _coming(directory: Path, cluster_id: str, rotation: Rotation) -> Authority:
    try:
        found = Authority.read(cluster_id, rotation.certificate_pem.encode(), rotation.key_pem.encode())
    except ValueError as error:
        raise AuthorityError(
            f"{directory / ROTATION_FILE} holds no authority: {error}; restore it from a backup"
        ) from error
    if found is None:
        raise AuthorityError(
            f"{directory / ROTATION_FILE} holds the key of another certificate; restore it from a backup"
        )
    return found


def _stamp(file: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(file)  # noqa: PTH116  # a Path is made and taken apart anew at each of them
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
