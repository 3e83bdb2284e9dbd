"""Backups of a cluster: its database, its authority and its first client's file, in one archive that is checked.

Whoever has one can be the cluster: it holds the authority's key.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO

import msgspec
from sqlalchemy import Connection, func, select

from motorpool_controller.config import Settings
from motorpool_controller.domain.names import shown
from motorpool_controller.security.authorities import ROTATION_FILE, held
from motorpool_controller.security.authority import sync_folder
from motorpool_controller.services.initialization import DATABASE, FILES, refuse_other
from motorpool_controller.store import schema
from motorpool_controller.store.database import cluster_id, cluster_of, open_database
from motorpool_controller.store.errors import StoreError
from motorpool_controller.store.lock import DataDirLock
from motorpool_controller.store.restoration import begin_anew, copy_database, database_at_rest, replace_rows

FORMAT = 1
MANIFEST = "backup.json"
MOST_BYTES = 1 << 36
_OPTIONAL = frozenset({"client.toml", ROTATION_FILE})
_COUNTED = (schema.nodes, schema.deployments, schema.instances)
_CHUNK = 1 << 20


class _File(msgspec.Struct, forbid_unknown_fields=True):
    bytes: int
    sha256: str


class _Manifest(msgspec.Struct):
    format: int
    version: str
    cluster_id: str
    time: datetime
    files: dict[str, _File]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What a backup holds; ``counts`` are rows by kind."""

    cluster_id: str
    time: datetime
    counts: Mapping[str, int]
    replaced: Path | None = None
    """Where the data went that stood in a restored one's place."""


def back_up(settings: Settings, target: Path | None, now: datetime, *, stream: IO[bytes] | None = None) -> Backup:
    """Write a backup to a new file, or to a stream; a controller may run meanwhile. Raise a StoreError."""
    if target is not None and target.exists():
        raise StoreError(f"{target} exists already and is not overwritten; name another file")
    engine = open_database(settings.database, migrate=False)
    engine.dispose()
    with _folder(settings.data_dir, ".backup-") as folder:
        copy_database(settings.database, folder / DATABASE)
        with held(settings.data_dir):  # a rotation of the authority takes a step before or after
            for name in FILES:
                if name != DATABASE and (settings.data_dir / name).exists():
                    shutil.copyfile(settings.data_dir / name, folder / name)
        made = _look(folder / DATABASE, now)
        manifest = _Manifest(
            format=FORMAT,
            version=version("motorpool-controller"),
            cluster_id=made.cluster_id,
            time=now,
            files={name: _file(folder / name) for name in FILES if (folder / name).exists()},
        )
        (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1))
        try:
            if stream is not None:
                _pack(folder, manifest, stream)
            elif target is not None:
                _write(folder, manifest, target)
        except OSError as error:
            raise StoreError(f"{target or 'standard output'} cannot be written: {error.strerror or error}") from error
    return made


def restore(settings: Settings, source: Path, now: datetime, *, replace: bool = False) -> Backup:
    """Put a backup into the data directory, where no controller may run; raise a StoreError.

    What is there is refused, or moved aside whole with ``replace``.
    """
    directory = settings.data_dir
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with DataDirLock(directory), _folder(directory, ".restore-") as folder, _elsewhere(settings) as connection:
            there = [name for name in FILES if (directory / name).exists()]
            if there and not replace:
                raise StoreError(
                    f"{directory} holds {', '.join(there)} already, and nothing was changed; give another --data-dir, "
                    "or move them aside with --replace"
                )
            manifest = _unpack(source, folder)
            made = _look(folder / DATABASE, manifest.time)
            if made.cluster_id != manifest.cluster_id:
                raise StoreError(f"{source}: its database is of another cluster than it says; take another backup")
            if connection is not None and not replace:
                refuse_other(connection, None)
            engine = open_database(folder / DATABASE)
            try:
                begin_anew(engine, manifest.time, now)
            finally:
                engine.dispose()
            aside = _move_aside(settings, connection, now) if replace else None
            # The database comes last: where it lies, there is a cluster.
            for name in FILES:
                if connection is not None and name == DATABASE:
                    replace_rows(connection, folder / name)
                elif (folder / name).exists():
                    (folder / name).rename(directory / name)
            sync_folder(directory)
    except OSError as error:
        raise StoreError(f"{directory} cannot be used: {error.strerror or error}; make it writable") from error
    return Backup(cluster_id=made.cluster_id, time=made.time, counts=made.counts, replaced=aside)


@contextmanager
def _elsewhere(settings: Settings) -> Iterator[Connection | None]:
    """Give the connection to the database where it is no file of the data directory."""
    if isinstance(settings.database, Path):
        yield None
        return
    with database_at_rest(settings.database) as connection:
        yield connection


def _look(database: Path, time: datetime) -> Backup:
    engine = open_database(database)
    try:
        with engine.connect() as connection:
            counts = {
                table.name: int(connection.execute(select(func.count()).select_from(table)).scalar_one())
                for table in _COUNTED
            }
        return Backup(cluster_id=cluster_id(engine), time=time, counts=counts)
    finally:
        engine.dispose()


def _file(path: Path) -> _File:
    with path.open("rb") as file:
        return _File(bytes=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def _write(folder: Path, manifest: _Manifest, target: Path) -> None:
    """Write the archive, durably: the file has its name once it is whole."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)  # for its owner alone
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            _pack(folder, manifest, file)
            file.flush()
            os.fsync(file.fileno())
        os.link(part, target)  # unlike a rename, it never overwrites
    except FileExistsError:
        raise StoreError(f"{target} exists already and is not overwritten; name another file") from None
    finally:
        part.unlink()
    sync_folder(target.parent)


def _pack(folder: Path, manifest: _Manifest, stream: IO[bytes]) -> None:
    with tarfile.open(fileobj=stream, mode="w|gz") as archive:
        for name in (MANIFEST, *manifest.files):
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.mtime = (folder / name).stat().st_size, 0o600, int(manifest.time.timestamp())
            with (folder / name).open("rb") as file:
                archive.addfile(info, file)


def _unpack(source: Path, folder: Path) -> _Manifest:
    """Write the files of a backup into a folder, once each is the one that was backed up."""
    try:
        # tarfile's own reader of gzip fails in other ways than these at a header that ends too early.
        with gzip.open(source) as plain, tarfile.open(fileobj=plain, mode="r|") as archive:
            members = iter(archive)
            first = next(members, None)
            if first is None or first.name != MANIFEST or not 0 < first.size < _CHUNK:
                raise StoreError(f"{source} is no backup of motorpool-controller; name a file that `backup` wrote")
            manifest = _manifest(source, _content(archive, first).read())
            for member in members:
                _take(source, manifest, member, _content(archive, member), folder)
    except FileNotFoundError as error:
        raise StoreError(f"{source} does not exist; name a file that `motorpool-controller backup` wrote") from error
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise StoreError(f"{source} cannot be read: {error}; nothing was changed, take another backup") from error
    missing = [name for name in FILES if name not in _OPTIONAL and not (folder / name).exists()]
    if missing:
        raise StoreError(f"{source} has no {', '.join(missing)}; nothing was changed, take another backup")
    return manifest


def _manifest(source: Path, content: bytes) -> _Manifest:
    try:
        manifest = msgspec.json.decode(content, type=_Manifest)
    except (msgspec.MsgspecError, ValueError) as error:
        raise StoreError(f"{source}: {MANIFEST} makes no sense: {error}; take another backup") from error
    if manifest.format != FORMAT:
        raise StoreError(
            f"{source} was written by motorpool-controller {shown(manifest.version)} in a form that this one does not "
            f"know (format {manifest.format}, here {FORMAT}); restore it with that version or a later one"
        )
    return manifest


def _take(source: Path, manifest: _Manifest, member: tarfile.TarInfo, content: IO[bytes], folder: Path) -> None:
    known = manifest.files.get(member.name)
    if known is None or member.name not in FILES or not 0 <= known.bytes <= MOST_BYTES:
        raise StoreError(f"{source} has {json.dumps(member.name[:80])}, which no backup has; nothing was changed")
    digest, size, path = hashlib.sha256(), 0, folder / member.name
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        while size <= known.bytes and (part := content.read(_CHUNK)):
            size += len(part)
            digest.update(part)
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    if (size, digest.hexdigest()) != (known.bytes, known.sha256):
        raise StoreError(f"{source}: {member.name} is damaged; nothing was changed, take another backup")


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    return (archive.extractfile(member) if member.isreg() else None) or io.BytesIO()


def _move_aside(settings: Settings, connection: Connection | None, now: datetime) -> Path | None:
    """Move what is there into a folder beside it; return the folder, or None where nothing was."""
    directory = settings.data_dir
    there = any((directory / name).exists() for name in FILES)
    if connection is not None:
        with connection.begin():
            there = there or cluster_of(connection) is not None
    if not there:
        return None
    aside = directory / f"replaced-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    aside.mkdir(mode=0o700)
    if connection is not None:
        copy_database(settings.database, aside / DATABASE)
    # The database first: without it, nobody takes what is left for a cluster. Its log goes with it.
    for name in (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", *FILES):
        with suppress(FileNotFoundError):
            (directory / name).rename(aside / name)
    return aside


@contextmanager
def _folder(directory: Path, prefix: str) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=directory))  # for its owner alone
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
