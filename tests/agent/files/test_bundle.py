"""Bundles: all of one is verified before any of it is used."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from motorpool_agent.files import bundle
from motorpool_agent.files.store import FileStore
from motorpool_agent.reconcile.assignment import Download, HubFile, ModelSource
from motorpool_agent.state.errors import ModelFilesError

WEIGHTS = bytes(range(256)) * 64
FILES = {
    "model.gguf": (WEIGHTS, {"sha256": hashlib.sha256(WEIGHTS).hexdigest()}),
    "deep/config.json": (b"{}", {"git_sha1": hashlib.sha1(b"blob 2\0{}", usedforsecurity=False).hexdigest()}),
}
DOWNLOAD = Download(
    source=ModelSource(kind="hugging_face", repository="acme/m", revision="c1"),
    commit="c1",
    files=tuple(HubFile(path=path, size_bytes=len(body), **told) for path, (body, told) in FILES.items()),
)


def opened(folder: Path) -> FileStore:
    store = FileStore(folder)
    store.open()
    return store


def silent(said: str) -> None:
    """Say nothing."""


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    """A bundle of one model and a wheel."""
    store = opened(tmp_path / "from")
    for missing in store.begin(DOWNLOAD):
        missing.path.write_bytes(FILES[missing.file.path][0])
    store.finish(DOWNLOAD)
    wheel = tmp_path / "tiny-1-py3-none-any.whl"
    wheel.write_bytes(b"a wheel")
    records = list(store.complete().values())
    index = bundle.Index(
        format=bundle.FORMAT,
        agent_version="1",
        python="3.11",
        platform="linux",
        distributions=(),
        engines=(),
        models=tuple(records),
        items=(),
    )
    sources = {f"wheels/agent/{wheel.name}": wheel, **bundle.contents_of(store, records)}
    bundle.write(tmp_path / "a.bundle", index, sources, "#!/bin/sh\n", silent)
    store.close()
    return tmp_path / "a.bundle"


def remade(file: Path, change: Callable[[str, bytes], tuple[str, bytes] | None]) -> None:
    """Write the bundle again with members changed or left out."""
    with tarfile.open(file) as archive:
        members = [(each.name, archive.extractfile(each).read()) for each in archive]  # type: ignore[union-attr]  # all are files
    with tarfile.open(file, "w") as archive:
        for name, body in members:
            changed = change(name, body)
            if changed is not None:
                member = tarfile.TarInfo(changed[0])
                member.size = len(changed[1])
                archive.addfile(member, io.BytesIO(changed[1]))


def test_what_goes_in_comes_out(file: Path, tmp_path: Path) -> None:
    """
    Another node has the model then, complete, as though it had fetched it.
    """
    (tmp_path / "to").mkdir()
    staged = bundle.unpack(file, tmp_path / "to", silent)
    store = opened(tmp_path / "to" / "models")
    [folder] = bundle.install_models(staged, store)
    [again] = bundle.install_models(staged, store)

    assert store.is_complete(DOWNLOAD)
    assert WEIGHTS == (folder / "model.gguf").read_bytes()
    assert b"{}" == (folder / "deep" / "config.json").read_bytes()
    assert b"a wheel" == (staged.folder / "wheels/agent/tiny-1-py3-none-any.whl").read_bytes()
    assert folder == again


def spoilt(name: str, body: bytes) -> tuple[str, bytes]:
    return name, body[:-1] + b"!" if name.endswith(".whl") else body


def without_wheel(name: str, body: bytes) -> tuple[str, bytes] | None:
    return None if name.endswith(".whl") else (name, body)


def elsewhere(name: str, body: bytes) -> tuple[str, bytes]:
    return (name, body.replace(b"wheels/agent", b"wheels/../..")) if name == bundle.INDEX else (name, body)


def forged(name: str, body: bytes) -> tuple[str, bytes]:
    """Other weights under the digest of the model's, with an index that agrees."""
    other = WEIGHTS[::-1]
    if name == bundle.INDEX:
        content = hashlib.sha256(WEIGHTS).hexdigest()
        index = msgspec.json.decode(body, type=bundle.Index)
        items = tuple(
            bundle.Item(each.name, each.size_bytes, hashlib.sha256(other).hexdigest())
            if each.name == f"content/sha256-{content}"
            else each
            for each in index.items
        )
        return name, msgspec.json.encode(msgspec.structs.replace(index, items=items))
    return (name, other) if body == WEIGHTS else (name, body)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (spoilt, "another digest than its index says"),
        (without_wheel, "is missing"),
        (elsewhere, "is no name of a file in it"),
        (forged, "another digest than its hub told"),
        (lambda name, body: (f"x{name}", body), "does not begin with bundle.json"),
        (lambda name, body: (name, body[:20] if name == bundle.INDEX else body), "cannot be read"),
    ],
)
@pytest.mark.promise("P9")
def test_a_bundle_that_was_changed_is_refused_whole(
    file: Path, tmp_path: Path, change: Callable[[str, bytes], tuple[str, bytes] | None], said: str
) -> None:
    """
    It says what is wrong, and leaves nothing behind.
    """
    remade(file, change)
    (tmp_path / "to").mkdir()
    with pytest.raises(ModelFilesError, match=said) as refused:
        bundle.unpack(file, tmp_path / "to", silent)

    assert "BUNDLE_BROKEN" == refused.value.reason
    assert [] == list((tmp_path / "to").iterdir())


@pytest.mark.parametrize("count", [0, 100, 5000, 12000])
def test_a_bundle_that_was_cut_is_refused(file: Path, tmp_path: Path, count: int) -> None:
    """
    Wherever it was cut.
    """
    file.write_bytes(file.read_bytes()[:count])
    (tmp_path / "to").mkdir()
    with pytest.raises(ModelFilesError, match="nothing was installed"):
        bundle.unpack(file, tmp_path / "to", silent)


def test_what_an_interrupted_installation_left_is_cleared(file: Path, tmp_path: Path) -> None:
    """
    The next one begins with an empty folder.
    """
    left = tmp_path / "to" / ".bundle-left"
    left.mkdir(parents=True)
    bundle.unpack(file, tmp_path / "to", silent)

    assert not left.exists()
