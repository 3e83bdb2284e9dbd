"""A bundle: what a node without a network needs, in one file, and nothing of it used before all of it is verified.

A tar archive, uncompressed, as weights do not shrink: ``bundle.json`` first, with a digest of everything else; then
``wheels/``, ``content/`` (as ``store`` names it) and ``install.sh`` for a machine that has no agent yet.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from motorpool_agent.files.store import FileStore, Record
from motorpool_agent.reconcile.assignment import HubFile
from motorpool_agent.state.errors import ModelFilesError
from motorpool_agent.state.files import sync_directory

FORMAT = 1
INDEX = "bundle.json"
SCRIPT = "install.sh"
WHEELS = "wheels"
CONTENT = "content"
_PIECE_BYTES = 1 << 20
_MOST_INDEX_BYTES = 64 << 20
_STAGE = ".bundle-"

Say = Callable[[str], None]


class Item(msgspec.Struct, frozen=True):
    """A file of the archive."""

    name: str
    size_bytes: int
    sha256: str


class Engine(msgspec.Struct, frozen=True):
    """An engine whose packages are in ``wheels/FOLDER``."""

    backend: str
    version: str
    folder: str


class Index(msgspec.Struct, frozen=True):
    """What is in a bundle, and for which machines its packages were made."""

    format: int
    agent_version: str
    python: str
    platform: str
    distributions: tuple[str, ...]
    engines: tuple[Engine, ...]
    models: tuple[Record, ...]
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Staged:
    """A bundle that was verified and lies unpacked in a folder, which its user takes what he wants from."""

    index: Index
    folder: Path


def write(file: Path, index: Index, sources: Mapping[str, Path], script: str, say: Say) -> Index:
    """Write a bundle of these files by their names in it; it appears whole or not at all. Return its whole index."""
    encoded = script.encode()
    items = [Item(SCRIPT, len(encoded), hashlib.sha256(encoded).hexdigest())]
    for name, path in sorted(sources.items()):
        say(f"reading {name}")
        items.append(_item(name, path))
    index = msgspec.structs.replace(index, items=tuple(items))
    draft = file.with_name(f".{file.name}.new")
    try:
        with draft.open("wb") as out, tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
            _add(archive, INDEX, msgspec.json.format(msgspec.json.encode(index)))
            _add(archive, SCRIPT, encoded, mode=0o755)
            for name, path in sorted(sources.items()):
                say(f"writing {name}")
                archive.add(path, name, recursive=False, filter=_plain)
            archive.close()
            out.flush()
            os.fsync(out.fileno())
        draft.replace(file)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    sync_directory(file.absolute().parent)
    return index


def read_index(archive: tarfile.TarFile, file: Path) -> Index:
    """Return what a bundle says of itself; raise ModelFilesError for what is none."""
    first = archive.next()
    if first is None or first.name != INDEX or not first.isreg() or first.size > _MOST_INDEX_BYTES:
        raise _broken(file, f"it does not begin with {INDEX}")
    body = archive.extractfile(first)
    try:
        index = msgspec.json.decode(b"" if body is None else body.read(), type=Index)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _broken(file, f"its {INDEX} cannot be read ({error})") from error
    if index.format != FORMAT:
        raise _broken(
            file, f"it is of format {index.format}, and this agent reads {FORMAT}: use that of its own version"
        )
    for item in index.items:
        parts = item.name.split("/")
        if {"", ".", ".."} & set(parts) or parts[0] not in {WHEELS, CONTENT, SCRIPT} or item.size_bytes < 0:
            raise _broken(file, f"{item.name[:200]!r} is no name of a file in it")
    return index


def unpack(file: Path, beside: Path, say: Say) -> Staged:
    """Unpack a bundle into a folder of its own below ``beside``; raise ModelFilesError unless every digest is right.

    Nothing else is touched before that.
    """
    for left in beside.glob(f"{_STAGE}*"):
        shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_STAGE, dir=beside))
    try:
        return Staged(_unpacked(file, folder, say), folder)
    except (tarfile.TarError, EOFError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise _broken(file, str(error)) from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _unpacked(file: Path, folder: Path, say: Say) -> Index:
    with file.open("rb") as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        index = read_index(archive, file)
        _room_for(index, file, folder)
        wanted = {item.name: item for item in index.items}
        while (member := archive.next()) is not None:
            item = wanted.pop(member.name, None)
            if item is None or not member.isreg() or member.size != item.size_bytes:
                raise _broken(file, f"{member.name[:200]!r} is not what its index says")
            say(f"verifying {member.name}")
            body = archive.extractfile(member)
            if body is None or _copied(body, folder / item.name) != item.sha256:
                raise _broken(file, f"{member.name} has another digest than its index says")
    if wanted:
        raise _broken(file, f"{min(wanted)} is missing")
    _check_content(index, folder, file)
    return index


def install_models(staged: Staged, store: FileStore) -> Iterator[Path]:
    """Put a bundle's models into the store, and yield the folder of each."""
    for record in staged.index.models:
        download = record.download
        if not store.is_complete(download):
            for missing in store.begin(download):
                shutil.move(staged.folder / CONTENT / missing.path.name, missing.path)
                missing.path.chmod(0o444)
                _sync(missing.path)
            store.finish(download)
        yield store.folder(download.files_id)


def _check_content(index: Index, folder: Path, file: Path) -> None:
    """Raise unless all content of its models is there, and what its name says."""
    for record in index.models:
        for name, hub_file in record.contents():
            path = folder / CONTENT / name
            if not path.is_file() or path.stat().st_size != hub_file.size_bytes:
                raise _broken(file, f"{hub_file.path} of {record.source.repository} is not in it")
            if not _is(path, hub_file):
                raise _broken(
                    file, f"{hub_file.path} of {record.source.repository} has another digest than its hub told"
                )


def _is(path: Path, file: HubFile) -> bool:
    if not file.sha256 and not file.git_sha1:
        return True
    digest = (
        hashlib.sha256() if file.sha256 else hashlib.sha1(f"blob {file.size_bytes}\0".encode(), usedforsecurity=False)
    )
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest() == (file.sha256 or file.git_sha1)


def _room_for(index: Index, file: Path, beside: Path) -> None:
    needed, free = sum(item.size_bytes for item in index.items), shutil.disk_usage(beside).free
    if needed > free:
        raise ModelFilesError(
            f"{file} unpacks to {needed} bytes in {beside}, where {free} are free; make room, or another disk does "
            "(--data-dir)",
            reason="DISK_FULL",
        )


def _copied(body: IO[bytes], path: Path) -> str:
    """Write a member to its place, and return its digest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with path.open("xb") as out:
        while piece := body.read(_PIECE_BYTES):
            digest.update(piece)
            out.write(piece)
    return digest.hexdigest()


def _item(name: str, path: Path) -> Item:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE_BYTES):
            digest.update(piece)
            size += len(piece)
    return Item(name, size, digest.hexdigest())


def _add(archive: tarfile.TarFile, name: str, content: bytes, *, mode: int = 0o644) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    archive.addfile(member, io.BytesIO(content))


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out whose files these are: it is nobody's business."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    member.type = tarfile.REGTYPE  # hard links are files of their own here
    return member


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _broken(file: Path, why: str) -> ModelFilesError:
    return ModelFilesError(
        f"{file} is no bundle that can be used: {why}; nothing was installed, copy or make it again",
        reason="BUNDLE_BROKEN",
    )


def contents_of(store: FileStore, records: Sequence[Record]) -> dict[str, Path]:
    """Return the content of these models, by its name in a bundle."""
    return {
        f"{CONTENT}/{name}": store.folder(record.download.files_id) / file.path
        for record in records
        for name, file in record.contents()
    }
