"""Carries out one agent's requests, each judged by the policy as it stands then."""

from __future__ import annotations

import contextlib
import logging
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from motorpool_agent.launcher import confinement, judging
from motorpool_agent.policy import DeniedError, Policy, PolicyError
from motorpool_agent.reconcile.handle import Unit
from motorpool_agent.runtime.systemd import creation
from motorpool_agent.runtime.systemd.commands import Said
from motorpool_agent.runtime.systemd.errors import UnreachableError
from motorpool_agent.runtime.systemd.requests import Answer, Forget, Hello, Request, Show, Signal, Start, Stop
from motorpool_agent.runtime.systemd.units import Units

log = logging.getLogger(__name__)

_STATE = Path("/var/lib")


class Launcher:
    """Root's half of one agent. ``folder`` is its own, for root: counts of kills, and what units read as they start."""

    def __init__(self, data_dir: Path, folder: Path, policy: Callable[[], Policy]) -> None:
        self._data_dir = data_dir
        self._folder = folder
        self._policy = policy
        self._units = Units(data_dir, user=False)
        for name, mode in (("oom", 0o755), ("start", 0o700)):
            path = folder / name
            path.mkdir(mode=mode, parents=True, exist_ok=True)

    async def answer(self, request: Request) -> Answer:
        """Do what is asked, or say why not; never raises."""
        try:
            said = await self._carry_out(request)
        except DeniedError as error:
            log.warning("request denied", extra={"request": type(request).__name__, "why": error.message})
            return Answer(reason="POLICY_DENIED", message=f"{error.message} (the launcher)", final=error.final)
        except PolicyError as error:
            return Answer(reason="POLICY_INVALID", message=f"{error}; nothing is launched before that")
        except UnreachableError as error:
            return Answer(reason=error.reason, message=error.message)
        except OSError as error:
            log.exception("request failed", extra={"request": type(request).__name__})
            return Answer(reason="LAUNCHER_FAILED", message=f"the launcher could not do it: {error}")
        return Answer(status=said.status, out=said.out, errors=said.errors)

    async def _carry_out(self, request: Request) -> Said:
        match request:
            case Hello():
                return Said(0, await self._units.version(), "")
            case Show(unit=None, assignment=None):
                return await self._units.show()
            case Show(unit=None, assignment=str() as assignment):
                return await self._units.show(assignment_id=assignment)
            case Show(unit=str() as unit):
                return await self._units.show(name=self._own(unit))
            case Start():
                return await self._start(request)
            case Signal():
                number, whole = (signal.SIGKILL, True) if request.kill else (signal.SIGTERM, False)
                await self._units.signal(self._own(request.unit), number, whole=whole)
            case Stop():
                return await self._units.stop(self._own(request.unit))
            case Forget():
                await self._forget(self._own(request.unit))
        return Said(0, "", "")

    async def _start(self, start: Start) -> Said:
        name = self._own(start.unit)
        assignment_id = self._units.assignment_of(name)
        work = _STATE / confinement.work_of(assignment_id)
        policy = replace(self._policy(), closed=(str(self._data_dir),))
        judging.check(policy, start, assignment_id, self._data_dir, work)
        folder = self._folder / "start" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        try:
            environment = folder / creation.ENVIRONMENT_NAME
            creation.write_environment({**start.environment, "HOME": str(work)}, environment)
            files = {Path(path).name: folder / f"file-{number}" for number, path in enumerate(start.files)}
            for path, text in zip(files.values(), start.files.values(), strict=True):
                path.write_text(text, encoding="utf-8")
            oom = self._folder / "oom" / name
            oom.unlink(missing_ok=True)
            unit = Unit(
                title=start.title,
                memory_limit_bytes=start.memory_limit_bytes,
                device_nodes=tuple(start.device_nodes),
            )
            properties = [
                *creation.properties(
                    unit,
                    environment=environment,
                    working_directory=str(work),
                    oom_counter=self._units.oom_counter(name),
                    oom_file=oom,
                ),
                *confinement.confined(
                    start, assignment_id, data_dir=self._data_dir, files=files, groups=judging.groups_of(start)
                ),
            ]
            said = await self._units.run(name, properties, start.argv)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        log.info("unit started", extra={"unit": name, "program": start.argv[0], "status": said.status})
        return said

    async def _forget(self, name: str) -> None:
        """Forget a unit that ended, and what its engine kept: one that runs keeps both."""
        await self._units.forget(name)
        (self._folder / "oom" / name).unlink(missing_ok=True)
        assignment_id = self._units.assignment_of(name)
        left = await self._units.of(assignment_id)
        if not any(unit.running for unit in left):
            with contextlib.suppress(FileNotFoundError):
                (_STATE / confinement.work_of(assignment_id)).unlink()
            shutil.rmtree(_STATE / "private" / confinement.work_of(assignment_id), ignore_errors=True)

    def _own(self, name: str) -> str:
        """Return the name of a unit of this agent's; raise ``DeniedError`` for any other."""
        if not self._units.assignment_of(name):
            raise DeniedError(f"unit {name[:200]} is none of this agent's", final=True)
        return name
