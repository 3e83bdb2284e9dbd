"""plugin.toml: what it may say, and what its faults are called."""

from pathlib import Path

import pytest

from motorpool_sdk import Kind, ManifestError
from motorpool_sdk import manifest as manifest_module
from motorpool_sdk.manifest import MOST_BYTES, parse, read

GOOD = """
kind = "accelerator"
api = ">=0.1,<0.2"
provides = "nvidia"
aliases = ["geforce"]
module = "acme.plugin"
pci_ids = ["10de", "10de:2335"]
libraries = ["libnvidia-ml.so.1"]
library_paths = ["/usr/lib/wsl/lib"]
device_nodes = ["/dev/nvidia[0-9]*"]
reads_env = ["CUDA_HOME"]
sets_env = ["CUDA_VISIBLE_DEVICES"]
"""


def test_every_key_is_read() -> None:
    """
    A manifest that says everything is taken over whole.
    """
    manifest = parse(GOOD.encode(), "plugin.toml", "acme")

    assert (Kind.ACCELERATOR, ">=0.1,<0.2", "nvidia") == (manifest.kind, manifest.api, manifest.provides)
    assert ("acme.plugin", ("geforce",)) == (manifest.module, manifest.aliases)
    assert ("10de", "10de:2335") == manifest.pci_ids
    assert (("libnvidia-ml.so.1",), ("/usr/lib/wsl/lib",)) == (manifest.libraries, manifest.library_paths)
    assert ("/dev/nvidia[0-9]*",) == manifest.device_nodes
    assert (("CUDA_HOME",), ("CUDA_VISIBLE_DEVICES",)) == (manifest.reads_env, manifest.sets_env)
    assert () == manifest.findings


def test_the_package_itself_may_hold_the_hooks() -> None:
    """
    Without a module, the package is the module.
    """
    assert "acme" == parse(b'kind = "backend"\napi = ">=0"\nprovides = "acme"\n', "plugin.toml", "acme").module


def test_a_deprecated_sdk_is_told_and_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Of a range with the version of today nothing is said; one with none but a deprecated version is served, and says
    what to change and until when; what was served once is no more.
    """
    monkeypatch.setattr(manifest_module, "API_VERSION", "0.3")
    monkeypatch.setattr(manifest_module, "DEPRECATED", {"0.2": "sample() has to be async from SDK 0.4 on"})
    said = {
        wanted: parse(f'kind = "backend"\napi = "{wanted}"\nprovides = "a"\n'.encode(), "f", "a").deprecation
        for wanted in (">=0.1", ">=0.2,<0.4", ">=0.2,<0.3")
    }

    assert ["", ""] == [said[">=0.1"], said[">=0.2,<0.4"]]
    assert (
        "it is made for SDK 0.2, which is deprecated: sample() has to be async from SDK 0.4 on; install a release of"
        " the plugin made for 0.3"
    ) == said[">=0.2,<0.3"]
    with pytest.raises(ManifestError, match=r"wants SDK >=0.1,<0.2, and this agent has 0.3"):
        parse(b'kind = "backend"\napi = ">=0.1,<0.2"\nprovides = "a"\n', "f", "a")


def test_an_unknown_key_is_a_finding() -> None:
    """
    A key of a later SDK stops nothing and is named.
    """
    manifest = parse(b'kind = "backend"\napi = ">=0"\nprovides = "a"\ncolour = "red"\npci_ids = []\n', "f", "a")

    assert (
        "unknown key 'colour', ignored",
        "key 'pci_ids' means nothing to a backend, ignored",
    ) == manifest.findings


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('kind = "gadget"', """plugin.toml: kind: is 'gadget'; say "accelerator" or "backend\""""),
        ("kind = 3", "plugin.toml: kind: must be a text"),
        ('api = "new"', "plugin.toml: api: is 'new', no range of versions; say for example"),
        ('api = ">=2"', "plugin.toml: api: wants SDK >=2, and this agent has 0.1; install a release"),
        ('provides = "Big Vendor"', "plugin.toml: provides: is 'Big Vendor'; use lower case"),
        ('module = "os"', """plugin.toml: module: is 'os'; name a module of the package, as "acme.plugin\""""),
        ('module = "acme.x; import os"', "plugin.toml: module: is 'acme.x; import os'; name a module"),
        ('pci_ids = ["0x10DE"]', "plugin.toml: pci_ids: has the item '0x10DE'; an item looks like"),
        ('pci_ids = "10de"', "plugin.toml: pci_ids: must be a list"),
        ('libraries = ["/lib/x.so"]', "plugin.toml: libraries: has the item '/lib/x.so'"),
        ('library_paths = ["lib"]', "plugin.toml: library_paths: has the item 'lib'"),
        ('library_paths = ["/a:/b"]', "plugin.toml: library_paths: has the item '/a:/b'; list each folder"),
        ('device_nodes = ["/etc/shadow"]', "plugin.toml: device_nodes: has the item '/etc/shadow'"),
        ('sets_env = ["A=B"]', "plugin.toml: sets_env: has the item 'A=B'"),
        ("aliases = [[1]]", "plugin.toml: aliases: has the item [1]"),
        ("= 3", "plugin.toml: is not TOML in UTF-8: Invalid statement"),
    ],
)
def test_a_fault_names_file_key_and_remedy(line: str, message: str) -> None:
    """
    A wrong value is told with the file, the key and what to write.
    """
    key = line.split(" ", maxsplit=1)[0]
    content = "\n".join([row for row in GOOD.splitlines() if not row.startswith(f"{key} ")] + [line])

    with pytest.raises(ManifestError) as caught:
        parse(content.encode(), "plugin.toml", "acme")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("key", ["kind", "api", "provides"])
def test_a_missing_key_is_named(key: str) -> None:
    """
    What must be there and is not is named, with what it is for.
    """
    content = "\n".join(row for row in GOOD.splitlines() if not row.startswith(f"{key} "))

    with pytest.raises(ManifestError, match=rf"plugin\.toml: {key}: is missing; say "):
        parse(content.encode(), "plugin.toml", "acme")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """
    A package without a manifest says where it should be.
    """
    with pytest.raises(ManifestError, match=r"plugin\.toml: cannot be read \(No such file or directory\); ship it"):
        read(tmp_path / "plugin.toml", "acme")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    """
    A manifest beyond any size a manifest has is refused by its length.
    """
    path = tmp_path / "plugin.toml"
    path.write_bytes(b"#" * (MOST_BYTES + 1))

    with pytest.raises(ManifestError, match="is longer than 65536 bytes"):
        read(path, "acme")
