"""A machine with NVIDIA cards of which only the library is made up, and the plugin in a process of its own on it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import dedent
from typing import TypeVar

import msgspec

from motorpool_sdk import Device, DeviceError, Exposure, Health, Sample, wire

SOURCE = Path(__file__).with_name("fake_nvml.c")
LIBRARY = "libnvidia-ml.so.1"
T = TypeVar("T")

FIRST, SECOND = "GPU-11111111-1111-1111-1111-111111111111", "GPU-22222222-2222-2222-2222-222222222222"

CARD = """
card {uuid}
name NVIDIA H100 80GB HBM3
bus {bus}
total 81559
reserved 551
used {used}
util 37
temperature 43
power 71500
capability 9 0
architecture 9
"""


def card(uuid: str = FIRST, *lines: str, bus: str = "00000000:0A:00.0", used: int = 16) -> str:
    """A healthy card as a scenario writes it, and more lines on it; sizes in MiB."""
    return CARD.format(uuid=uuid, bus=bus, used=used) + "".join(f"{line}\n" for line in lines)


def two_cards() -> str:
    """Two healthy cards."""
    return card() + card(SECOND, bus="00000000:1B:00.0")


class FakeNvml:
    """A folder with the library and its scenario, which may be changed while the library is in use."""

    def __init__(self, folder: Path, library: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, folder / LIBRARY)

    def show(self, scenario: str, first: str = "driver 580.95.05\ncuda 13000\n") -> None:
        """Have the library tell of this from its next call on."""
        new = self.folder / "scenario.new"
        new.write_text(first + dedent(scenario), encoding="utf-8", errors="surrogateescape")
        new.replace(self.folder / "scenario")


def compile_nvml(folder: Path, *defines: str) -> Path:
    """Compile the library; ``defines`` leave parts of it out."""
    if shutil.which("cc") is None:
        raise FileNotFoundError("these tests compile a small library, and there is no cc; install gcc and libc6-dev")
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / LIBRARY
    command = ["cc", "-std=c11", "-O0", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden"]
    subprocess.run(
        [*command, *(f"-D{define}" for define in defines), f"-Wl,-soname,{LIBRARY}", "-o", library, SOURCE, "-ldl"],
        check=True,
        capture_output=True,
        timeout=100,
    )
    return library


class PluginError(Exception):
    """What the plugin raised, as its process tells it."""


class NvidiaProcess:
    """The plugin in a process of its own, which finds the library in ``folders``; it has the plugin's methods."""

    def __init__(self, *folders: Path) -> None:
        self._socket, theirs = socket.socketpair()
        env = {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(str(folder) for folder in folders)}
        with theirs:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "motorpool_sdk.child", "motorpool_nvidia", "motorpool_nvidia.plugin"),
                    *("--fd", str(theirs.fileno())),
                ],
                pass_fds=[theirs.fileno()],
                env=env,
                stderr=subprocess.DEVNULL,
            )
        self._ask("introduce", wire.Introduction(kind="accelerator"), list[str])

    def fingerprint(self) -> Sequence[Device | DeviceError]:
        found = self._ask("fingerprint", None, wire.Fingerprint)
        return [*found.devices, *found.errors]

    def sample(self, device_ids: Sequence[str]) -> Sequence[Sample]:
        return self._ask("sample", tuple(device_ids), tuple[Sample, ...])

    def health(self, device_ids: Sequence[str]) -> Mapping[str, tuple[Health, tuple[str, ...]]]:
        return self._ask("health", tuple(device_ids), dict[str, tuple[Health, tuple[str, ...]]])

    def expose(self, device_ids: Sequence[str]) -> Exposure:
        return self._ask("expose", tuple(device_ids), Exposure)

    def devices(self) -> dict[str, Device]:
        return {each.device_id: each for each in self.fingerprint() if isinstance(each, Device)}

    def errors(self) -> dict[str, str]:
        return {each.device_id: each.message for each in self.fingerprint() if isinstance(each, DeviceError)}

    def end(self) -> None:
        """End the process."""
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def _ask(self, method: str, body: object, kind: type[T]) -> T:
        request = wire.Request(id=1, method=method, deadline=time.monotonic() + 60, body=msgspec.Raw(wire.encode(body)))
        self._socket.sendall(wire.frame(request))
        content = wire.receive(self._socket)
        if content is None:
            raise PluginError(f"the process ended with {self._process.wait()}")
        response = wire.decode(content, wire.Response)
        if response.error:
            raise PluginError(response.error)
        return wire.decode(response.result, kind)
