"""A machine of which only the vendor's library and command are made up, and a plugin in a process of its own on it.

A library is written in C on ``scenario.h`` beside this file, which says how cards, faults and hangs are written down; a
test changes its scenario while the plugin uses it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from textwrap import dedent
from typing import TypeVar

import msgspec

from motorpool_sdk import wire
from motorpool_sdk.accelerator import Device, DeviceError, Exposure, Health, Sample, SourceReport
from motorpool_sdk.testing.manifest import installed_manifest

HERE = Path(__file__).parent
T = TypeVar("T")


def compile_library(
    source: Path, library: Path, *defines: str, without: Iterable[str] = (), include: Path = HERE
) -> Path:
    """Compile a made-up library; ``without`` are functions that this driver's release does not have."""
    if shutil.which("cc") is None:
        raise FileNotFoundError("these tests compile a small library, and there is no cc; install gcc and libc6-dev")
    library.parent.mkdir(parents=True, exist_ok=True)
    hidden = " ".join(f"{symbol};" for symbol in without)
    exports = library.parent / "exports.map"
    exports.write_text(f"{{ global: *; {f'local: {hidden}' if hidden else ''} }};\n")
    command = ["cc", "-std=c11", "-O0", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden"]
    subprocess.run(
        [
            *command,
            *(f"-D{define}" for define in defines),
            *(f"-I{include}", f"-Wl,-soname,{library.name}", f"-Wl,--version-script={exports}"),
            *("-o", str(library), str(source), "-ldl"),
        ],
        check=True,
        capture_output=True,
        timeout=100,
    )
    return library


class FakeLibrary:
    """A folder with a library and its scenario, which may be changed while the library is in use."""

    def __init__(self, folder: Path, library: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, folder / library.name)

    def show(self, scenario: str, first: str = "") -> None:
        """Have the library tell of this from its next call on; ``first`` is about the library itself."""
        new = self.folder / "scenario.new"
        new.write_text(first + dedent(scenario), encoding="utf-8", errors="surrogateescape")
        new.replace(self.folder / "scenario")


COMMAND = """#!/bin/sh
# Prints what was recorded for its arguments, and does what a file beside that says.
here=$(dirname "$0")/{name}.d
key=$(printf '%s' "$*" | tr ' /' '__')
echo "$*" >> "$here/asked"
[ -e "$here/hang" ] && exec sleep 1000
[ -e "$here/$key.out" ] && cat "$here/$key.out"
[ -e "$here/status" ] && exit "$(cat "$here/status")"
[ -e "$here/$key.out" ] || {{ echo "no such option: $*" >&2; exit 2; }}
"""


class FakeCommand:
    """A program in a folder that prints what was recorded."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self._files = folder / f"{name}.d"
        self._files.mkdir(parents=True)
        program = folder / name
        program.write_text(COMMAND.format(name=name))
        program.chmod(0o755)

    def prints(self, arguments: str, text: str, status: int = 0) -> None:
        """Have it print ``text`` for these arguments."""
        (self._files / f"{arguments.replace(' ', '_').replace('/', '_')}.out").write_text(text, encoding="utf-8")
        if status:
            (self._files / "status").write_text(str(status))

    def hangs(self) -> None:
        """Have it never end."""
        (self._files / "hang").touch()

    @property
    def asked(self) -> list[str]:
        """The arguments of each time that it was run."""
        file = self._files / "asked"
        return file.read_text().splitlines() if file.exists() else []


class FakeBus:
    """A root folder whose sysfs shows PCI devices."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, address: str, *, pci_id: str, pci_class: str, driver: str = "", numa_node: int = -1) -> None:
        """Put a device on the bus; ``pci_id`` is ``vendor:device``."""
        folder = self.root / "sys/bus/pci/devices" / address
        folder.mkdir(parents=True, exist_ok=True)
        vendor, device = pci_id.split(":")
        for name, text in (("vendor", vendor), ("device", device), ("class", pci_class)):
            (folder / name).write_text(f"0x{text}\n")
        (folder / "numa_node").write_text(f"{numa_node}\n")
        if driver:
            module = self.root / "sys/bus/pci/drivers" / driver
            module.mkdir(parents=True, exist_ok=True)
            (folder / "driver").symlink_to(module)

    def touch(self, *paths: str) -> None:
        """Put files, as device nodes and what a driver's installer leaves, below the root."""
        for path in paths:
            file = self.root / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()


class PluginRaisedError(Exception):
    """What the plugin raised, as its process tells it."""


class PluginChild:
    """A plugin in a process of its own, which finds libraries and commands in ``folders``; it has its methods.

    ``module`` is where its hook is, else where its manifest says.
    """

    def __init__(self, package: str, *folders: Path, module: str = "", env: Mapping[str, str] | None = None) -> None:
        module = module or installed_manifest(package).module
        self._socket, theirs = socket.socketpair()
        joined = os.pathsep.join(str(folder) for folder in folders)
        path = os.pathsep.join([joined, os.environ.get("PATH", os.defpath)])
        with theirs:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "motorpool_sdk.child", package, module),
                    *("--fd", str(theirs.fileno())),
                ],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "LD_LIBRARY_PATH": joined, "PATH": path, **(env or {})},
                stderr=subprocess.DEVNULL,
            )
        self._ask("introduce", wire.Introduction(kind="accelerator"), list[str])

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    def fingerprint(self) -> Sequence[Device | DeviceError]:
        """Ask for devices and errors."""
        found = self._ask("fingerprint", None, wire.Fingerprint)
        return [*found.devices, *found.errors]

    def sample(self, device_ids: Sequence[str]) -> Sequence[Sample]:
        """Ask for measurements."""
        return self._ask("sample", tuple(device_ids), tuple[Sample, ...])

    def health(self, device_ids: Sequence[str]) -> Mapping[str, tuple[Health, tuple[str, ...]]]:
        """Ask how the devices are."""
        return self._ask("health", tuple(device_ids), dict[str, tuple[Health, tuple[str, ...]]])

    def expose(self, device_ids: Sequence[str]) -> Exposure:
        """Ask how they are handed over."""
        return self._ask("expose", tuple(device_ids), Exposure)

    def sources(self) -> Sequence[SourceReport]:
        """Ask which ways to the devices were tried."""
        return self._ask("sources", None, tuple[SourceReport, ...])

    def devices(self) -> dict[str, Device]:
        """Return the devices that there are now, by id."""
        return {each.device_id: each for each in self.fingerprint() if isinstance(each, Device)}

    def errors(self) -> dict[str, str]:
        """Return what cannot be read now, and why."""
        return {each.device_id: each.message for each in self.fingerprint() if isinstance(each, DeviceError)}

    def end(self) -> None:
        """End the process."""
        self._socket.close()
        self.process.kill()
        self.process.wait()

    def _ask(self, method: str, body: object, kind: type[T]) -> T:
        request = wire.Request(id=1, method=method, deadline=time.monotonic() + 60, body=msgspec.Raw(wire.encode(body)))
        self._socket.sendall(wire.frame(request))
        content = wire.receive(self._socket)
        if content is None:
            raise PluginRaisedError(f"the process ended with {self.process.wait()}")
        response = wire.decode(content, wire.Response)
        if response.error:
            raise PluginRaisedError(response.error)
        return wire.decode(response.result, kind)
