"""What happened to others (unauthenticated job APIs, pickle over sockets, paths that lead out), and cannot here."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from motorpool import v1
from motorpool_agent.session.desired import DesiredBook
from motorpool_controller.domain import names
from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.services.backups import _unpack
from motorpool_controller.store.errors import StoreError
from tests.agent.session import objects
from tests.sources import ROOT, found, packages

pytestmark = pytest.mark.promise("P6")

# A chain is read there before anything is trusted: its fingerprint, out of a token or a flag, is what decides.
KNOWN = {
    ("agent/motorpool_agent/identity/authority.py", "VERIFY_NONE"),
    ("cli/motorpool_cli/authority.py", "CERT_NONE"),
}


def test_no_wheel_of_ours_makes_code_of_data() -> None:
    """
    In all that goes into wheels there is no pickle, eval, exec, shell, unsafe YAML, archive unpacked by its own paths,
    and no connection that trusts whoever answers.
    """
    files = [path for package in packages() for path in sorted(package.rglob("*.py"))]
    seen = {
        (str(path.relative_to(ROOT)), what): f"{path.relative_to(ROOT)}:{line}: {what}"
        for path in files
        for line, what in found(path.read_text(encoding="utf-8"))
    }

    assert len(files) > 300
    assert {"motorpool_agent", "motorpool_controller", "motorpool_cli", "motorpool_sdk", "motorpool_vllm"} <= {
        package.name for package in packages()
    }
    assert [] == [text for key, text in seen.items() if key not in KNOWN and not generated(key[0])]
    assert seen.keys() >= KNOWN, "one that is known is gone: take it out of the list"


def generated(path: str) -> bool:
    """Whether grpc's generator wrote it; what it offers is not used by anything else here."""
    return path.endswith("_pb2_grpc.py")


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("import pickle", "pickle"),
        ("from multiprocessing import x\nimport marshal as m", "marshal"),
        ("from dill import loads", "dill"),
        ("eval(words)", "eval"),
        ("exec(compile(a, b, c))", "exec"),
        ("subprocess.run(words, shell=True)", "shell=True"),
        ("import os\nos.system('x')", "os.system"),
        ("from os import system", "os.system"),
        ("yaml.load(text)", "yaml.load"),
        ("np.load(path, allow_pickle=True)", "allow_pickle=True"),
        ("await asyncio.create_subprocess_shell(line)", "asyncio.create_subprocess_shell"),
        ("archive.extractall(folder)", "archive.extractall"),
        ("grpc.aio.insecure_channel(address)", "grpc.aio.insecure_channel"),
        ("httpx.get(url, verify=False)", "verify=False"),
        ("context.verify_mode = ssl.CERT_NONE", "CERT_NONE"),
    ],
)
def test_what_must_not_be_is_found(source: str, what: str) -> None:
    """
    The search above finds each of them, so that finding nothing says something.
    """
    assert what in [name for _, name in found(source)]


def test_what_is_no_danger_is_not_found() -> None:
    """
    Words that only look like it are let through: a regular expression, a method of one's own, a safe loader.
    """
    harmless = (
        "import re\nre.compile('x')\nyaml.compose_all(t, Loader=yaml.SafeLoader)\nrun(x, shell=False)\nself.exec(x)"
    )

    assert [] == list(found(harmless))


WAYS_OUT = (
    "..",
    "../x",
    "a/../../x",
    "/etc/passwd",
    "a/b",
    ".",
    "a\x00b",
    "%2e%2e",
    "a\\..\\b",
    "~root",
    "a\nb",
    "\u2025",
    "",
)


@pytest.mark.parametrize("way", WAYS_OUT)
def test_no_name_leads_anywhere(way: str) -> None:
    """
    A name that says a path is given to nothing: no node, no deployment, no backend; and no path names any of them.
    """
    for make in (names.check_node_id, names.check_deployment_id):
        with pytest.raises(InvalidError) as caught:
            make(way)
        assert "FIELD_INVALID" == caught.value.reason
    assert not names.is_backend_id(way)
    if "/" in way:
        with pytest.raises(InvalidError):
            names.resource_id(f"nodes/{way}", "nodes")


@pytest.mark.parametrize("way", WAYS_OUT)
def test_no_controller_has_an_agent_write_elsewhere(way: str) -> None:
    """
    Ids of what an agent is to run, read and follow become names of its files: one that is a path is refused whole.
    """
    for made in (objects.assignment(way), objects.tombstone(way), objects.query(way, "/m"), objects.logs(way, "a1")):
        answer = DesiredBook(None).consider(objects.everything(1, made))

        assert isinstance(answer, v1.DesiredAck)
        assert answer.error_reason


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
@pytest.mark.parametrize("name", ["../outside", "/etc/motorpool-outside", "ca.pem/../../outside", "ca.pem"])
def test_no_backup_writes_elsewhere(tmp_path: Path, kind: bytes, name: str) -> None:
    """
    What an archive says of where its members go, and what they are links to, moves no file out of the folder.
    """
    manifest = (
        b'{"format":1,"version":"1","cluster_id":"c","time":"2026-11-21T00:00:00Z",'
        b'"files":{"ca.pem":{"bytes":1,"sha256":"0"},"../outside":{"bytes":1,"sha256":"0"}}}'
    )
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        first = tarfile.TarInfo("backup.json")
        first.size = len(manifest)
        archive.addfile(first, io.BytesIO(manifest))
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    source, folder = tmp_path / "x.backup", tmp_path / "inner"
    source.write_bytes(gzip.compress(plain.getvalue()))
    folder.mkdir()

    with pytest.raises(StoreError):
        _unpack(source, folder)

    assert {"inner", "x.backup"} == {path.name for path in tmp_path.iterdir()}
    assert not any(path.is_symlink() for path in folder.iterdir())
