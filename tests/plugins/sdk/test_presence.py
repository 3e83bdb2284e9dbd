"""Whether hardware is there, told without asking its vendor."""

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from motorpool_sdk import Kind, Manifest
from motorpool_sdk.presence import cards_on_the_bus, closed_nodes, present, signs


def manifest(**keys: tuple[str, ...]) -> Manifest:
    return Manifest(kind=Kind.ACCELERATOR, api=">=0.1", provides="acme", module="acme", deprecation="", **keys)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with one NVIDIA card, its device node and a library in a folder of its own."""
    device = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text("0x10de\n")
    (device / "device").write_text("0x2335\n")
    (tmp_path / "sys/bus/pci/devices/0000:00:00.0").mkdir()
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").touch()
    (tmp_path / "opt/acme/lib").mkdir(parents=True)
    (tmp_path / "opt/acme/lib/libacme.so.1").touch()
    return tmp_path


@pytest.mark.parametrize(
    "keys",
    [
        {"pci_ids": ("10de",)},
        {"pci_ids": ("ffff", "10de:2335")},
        {"device_nodes": ("/dev/nvidia[0-9]*",)},
        {"libraries": ("libacme.so.1",), "library_paths": ("/opt/acme/lib",)},
        {"pci_ids": ("ffff",), "device_nodes": ("/dev/nvidia0",)},
        {},
    ],
)
def test_any_sign_is_enough(root: Path, keys: dict[str, tuple[str, ...]]) -> None:
    """
    A PCI id, a device node or a library tells of the hardware; a manifest that names none is always asked.
    """
    assert present(manifest(**keys), root)


@pytest.mark.parametrize(
    "keys",
    [
        {"pci_ids": ("10de:ffff", "1002")},
        {"device_nodes": ("/dev/kfd", "/dev/davinci[0-9]*")},
        {"libraries": ("libacme.so.1",)},
        {"libraries": ("libother.so",), "library_paths": ("/opt/acme/lib", "/no/such/folder")},
    ],
)
def test_without_a_sign_there_is_none(root: Path, keys: dict[str, tuple[str, ...]]) -> None:
    """
    Another vendor's card, and a library elsewhere, are no sign.
    """
    assert not present(manifest(**keys), root)


def test_folders_of_the_loader_count(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A library in LD_LIBRARY_PATH is a sign: the plugin's process will find it there.
    """
    keys = manifest(libraries=("libacme.so.1",))
    assert not present(keys, root)

    monkeypatch.setenv("LD_LIBRARY_PATH", "relative:/opt/other:/opt/acme/lib")

    assert present(keys, root)


def test_an_empty_machine_is_no_error(tmp_path: Path) -> None:
    """
    A machine without PCI has no hardware of that kind.
    """
    assert not present(manifest(pci_ids=("10de",), device_nodes=("/dev/x",), libraries=("libx.so",)), tmp_path)


def test_every_sign_is_told(root: Path) -> None:
    """
    Who looks is shown what was found, and where.
    """
    keys = manifest(
        pci_ids=("10de",),
        device_nodes=("/dev/nvidia[0-9]*", "/dev/other"),
        libraries=("libacme.so.1",),
        library_paths=("/opt/acme/lib",),
    )

    assert (
        "PCI device 0000:01:00.0 (10de:2335)",
        "device node /dev/nvidia0",
        "library /opt/acme/lib/libacme.so.1",
    ) == signs(keys, root)


def test_nodes_that_this_user_may_not_open_are_named(
    as_ordinary_user: Callable[[], AbstractContextManager[None]],
) -> None:
    """
    Whose they are and with which mode; a node that is open to all is none of them.
    """
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "dev").mkdir()
        root.chmod(0o755)
        for node, mode in (("acme0", 0o000), ("acme1", 0o666)):
            (root / "dev" / node).touch()
            (root / "dev" / node).chmod(mode)
        with as_ordinary_user():
            (told,) = closed_nodes(manifest(device_nodes=("/dev/acme*",)), root)

    assert (True, True) == (told.startswith("/dev/acme0 belongs to "), told.endswith("mode 0000"))


def test_accelerators_are_told_by_their_class(root: Path) -> None:
    """
    Display controllers and processing accelerators of any vendor, but for the consoles of servers.
    """
    for address, vendor, pci_class in (
        ("0000:02:00.0", "1ed5", "120000"),
        ("0000:03:00.0", "1a03", "030000"),
        ("0000:04:00.0", "10de", "040300"),
    ):
        folder = root / "sys/bus/pci/devices" / address
        folder.mkdir()
        for name, text in (("vendor", vendor), ("device", "0300"), ("class", pci_class)):
            (folder / name).write_text(f"0x{text}\n")
    (root / "sys/bus/pci/devices/0000:01:00.0/class").write_text("0x030200\n")

    assert (("0000:01:00.0", "10de:2335"), ("0000:02:00.0", "1ed5:0300")) == cards_on_the_bus(root)
