"""An agent's units where it is not root's: the launcher starts them, shows them, and ends them."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from motorpool_agent.reconcile.handle import LaunchRecord, Unit
from motorpool_agent.runtime import launchfiles
from motorpool_agent.runtime.errors import LaunchError
from motorpool_agent.runtime.systemd.commands import CALL_SECONDS, Said
from motorpool_agent.runtime.systemd.errors import UnreachableError
from motorpool_agent.runtime.systemd.requests import (
    MOST_BYTES,
    Answer,
    Forget,
    Hello,
    Request,
    Show,
    Signal,
    Start,
    Stop,
)
from motorpool_agent.runtime.systemd.units import Units

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_ANSWER_BYTES = 16 << 20
# For an end the launcher waits as long as systemd does.
_STOP_SECONDS = 100.0


class LaunchedUnits(Units):
    """The units of an agent that asks the launcher at a socket."""

    def __init__(self, data_dir: Path, socket: Path) -> None:
        super().__init__(data_dir, user=False)
        self._data_dir = data_dir
        self._socket = socket

    @property
    def whose(self) -> str:
        """Say who starts them."""
        return f", by the launcher at {self._socket}"

    async def version(self) -> str:
        """Return which systemd answers the launcher."""
        return (await self._call(Hello())).out.strip()

    async def show(self, *, name: str = "", assignment_id: str = "") -> Said:
        """Return what systemd shows of a unit, of an assignment's, or of all of this agent."""
        return await self._call(Show(unit=name or None, assignment=assignment_id or None))

    async def start(self, name: str, record: LaunchRecord, directory: Path) -> Said:
        """Have a launch's unit started; raise ``LaunchError`` if the launcher's policy does not let it."""
        unit = record.unit or Unit(title="")
        if unit.device_nodes is None:
            raise LaunchError(
                "DEVICES_UNTOLD",
                "the vendor's plugin does not say by which nodes its devices are reached, so that the launcher cannot "
                "give the engine those alone; deploy with an image, or run this node's agent as root",
                final=True,
            )
        files = await asyncio.to_thread(lambda: dict(_files(directory)))
        return await self._call(
            Start(
                unit=name,
                title=unit.title,
                backend=unit.backend,
                argv=list(record.argv),
                environment=dict(record.environment),
                device_nodes=list(unit.device_nodes),
                files=files,
                # Others are files as any: their own permissions say who reads them.
                reads=[each for each in unit.reads if Path(each).is_relative_to(self._data_dir)],
                memory_limit_bytes=unit.memory_limit_bytes,
            )
        )

    def oom_file(self, name: str, directory: Path) -> Path:  # not in the instance's: the agent may write there
        """Return where the launcher keeps a unit's count of kills for memory."""
        return self._socket.parent / "oom" / name

    async def signal(self, name: str, number: signal.Signals, *, whole: bool) -> None:
        """Have a unit's first process told to end, or all that is in its control group killed."""
        await self._call(Signal(unit=name, kill=whole and number is signal.SIGKILL))

    async def stop(self, name: str) -> Said:
        """Have a unit ended, whole."""
        return await self._call(Stop(unit=name))

    async def forget(self, name: str) -> None:
        """Have systemd forget how a unit ended."""
        await self._call(Forget(unit=name))

    async def _call(self, request: Request) -> Said:
        what = f"launcher: {type(request).__name__.lower()}"
        line = msgspec.json.encode(request)
        if len(line) >= MOST_BYTES:
            raise LaunchError("LAUNCH_INVALID", f"the launch takes {len(line)} bytes, and the launcher takes 1 MiB")
        try:
            async with asyncio.timeout(_STOP_SECONDS if isinstance(request, Stop) else CALL_SECONDS):
                reader, writer = await asyncio.open_unix_connection(self._socket, limit=_MOST_ANSWER_BYTES)
                try:
                    writer.write(line + b"\n")
                    await writer.drain()
                    answered = await reader.readline()
                finally:
                    writer.close()
            answer = msgspec.json.decode(answered, type=Answer)
        except TimeoutError as error:
            raise UnreachableError(what, "no answer in time") from error
        except (OSError, ValueError) as error:
            raise UnreachableError(what, f"{error} (at {self._socket})") from error
        if answer.reason:
            raise LaunchError(answer.reason, answer.message, final=answer.final)
        return Said(answer.status, answer.out, answer.errors)


def _files(directory: Path) -> Iterator[tuple[str, str]]:
    """Yield the launch's own files, which the agent wrote: the engine is another user."""
    folder = launchfiles.folder_of(directory)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        yield str(path), path.read_text(encoding="utf-8")
