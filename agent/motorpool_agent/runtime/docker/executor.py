"""The executor ``docker``: an engine as a container, owned by labels, restarted by nobody but the agent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from motorpool_agent import failpoints
from motorpool_agent.reconcile.handle import Handle, Identity, LaunchRecord, Phase
from motorpool_agent.reconcile.observation import ExecutorStatus
from motorpool_agent.runtime import logs, procfs
from motorpool_agent.runtime.docker import images
from motorpool_agent.runtime.docker.containers import Containers, Found
from motorpool_agent.runtime.docker.copying import Copy
from motorpool_agent.runtime.docker.creation import creation
from motorpool_agent.runtime.docker.daemon import Daemon, address
from motorpool_agent.runtime.docker.errors import RefusedError, UnreachableError
from motorpool_agent.runtime.docker.glance import glance
from motorpool_agent.runtime.docker.labels import ASSIGNMENT, Owner, run_of
from motorpool_agent.runtime.docker.packages import installing
from motorpool_agent.runtime.docker.threads import threaded
from motorpool_agent.runtime.errors import LaunchError, PortTakenError, StartUnknownError, StopError
from motorpool_agent.runtime.executor import Evidence, Exit, Progress, Running, Verdict
from motorpool_agent.runtime.family import Family, gone

log = logging.getLogger(__name__)

NAME = "docker"
_MARK = "container"
_ASK_AGAIN_SECONDS = 1.0
_LOOK_SECONDS = 0.05


class DockerExecutor:
    """Starts engines as containers, finds them again by their labels, waits for their end, removes them."""

    def __init__(self, data_dir: Path, cluster: str) -> None:
        self._owner = Owner(data_dir, cluster)
        self._daemon = Daemon()
        self._containers = Containers(self._daemon, self._owner)
        self._copies: dict[str, Copy] = {}
        self._strangers: set[str] = set()

    async def status(self) -> ExecutorStatus:
        """Return which engine answers, or why none does."""
        try:
            said = await self._containers.engine()
        except (UnreachableError, RefusedError) as error:
            return ExecutorStatus(executor=NAME, works=False, message=error.message)
        return ExecutorStatus(executor=NAME, works=True, message=said)

    async def fetch(self, record: LaunchRecord, progress: Progress) -> None:
        """Pull the image if it is not here."""
        if record.container is not None:
            await images.ensure(self._daemon, record.container.image, progress)

    async def start(self, directory: Path, run: int, record: LaunchRecord, before_exec: Callable[[], None]) -> Running:
        """Create a container and start it; killed anywhere in between, what is there is found by its labels."""
        container = record.container
        assert container is not None  # noqa: S101  # a record for this executor has one
        assignment_id = directory.name
        logs.prepare(directory, run, directory / "work")
        try:
            # What an earlier start did not come to the end of: there is never a second one.
            await self._clear(directory, 0.0)
            abilities = await self._containers.abilities()
            wrapped, container = await installing(self._daemon, record, container)
            body = creation(
                wrapped,
                container,
                self._owner.labels(assignment_id, run, container.labels),
                abilities,
            )
            (directory / _MARK).touch()
            failpoints.reach("container.marked")
            try:
                await asyncio.to_thread(before_exec)
            except OSError as error:
                raise LaunchError(
                    "STATE_UNWRITABLE",
                    f"the handle in {directory} cannot be written: {error}; free space or permissions",
                ) from error
            container_id = await self._containers.create(self._owner.name(assignment_id, run), body)
            failpoints.reach("container.created")
            try:
                await self._containers.start(container_id)
                failpoints.reach("container.started")
                found = await self._containers.find(container_id)
            except RefusedError:
                await self._containers.remove(container_id)
                raise
            except UnreachableError as error:
                raise StartUnknownError(error.reason, error.message) from error
        except UnreachableError as error:
            raise LaunchError(error.reason, error.message) from error
        except RefusedError as error:
            raise _not_started(container.image, error) from error
        if found is None:
            raise LaunchError("CONTAINER_LOST", f"the container of {assignment_id} was removed as it was started")
        return self._runs(directory, run, found)

    async def inspect(self, directory: Path, handle: Handle) -> Evidence:
        """Compare a handle with the containers that carry its assignment's label."""
        try:
            containers = await self._containers.of(directory.name)
        except (UnreachableError, RefusedError) as error:
            return Evidence(verdict=Verdict.UNKNOWN, message=error.message)
        ours = [found for found in containers if run_of(found.labels) == handle.run]
        others = [found for found in containers if found not in ours and found.running]
        if others or len(ours) > 1:
            return Evidence(
                verdict=Verdict.UNCERTAIN, message=f"{_named(others or ours)} carries this assignment's label too"
            )
        if not ours:
            return Evidence(verdict=Verdict.NOTHING if handle.phase is Phase.PREPARED else Verdict.GONE)
        found = ours[0]
        if found.never_started:
            return Evidence(verdict=Verdict.NOTHING)
        launch = handle.launch.container
        wanted = {} if launch is None else self._owner.labels(directory.name, handle.run, launch.labels)
        differing = [name for name, value in wanted.items() if found.labels.get(name) != value]
        if not wanted or differing or handle.container_id not in {"", found.container_id}:
            what = ", ".join(differing) or "another id"
            return Evidence(verdict=Verdict.UNCERTAIN, message=f"{_named(ours)} differs from the handle in {what}")
        if found.running:
            return Evidence(verdict=Verdict.RUNNING, running=self._runs(directory, handle.run, found))
        return Evidence(verdict=Verdict.EXITED, exit=found.exit)

    async def ended(self, running: Running) -> Exit:
        """Wait for the container's end. A container that a person restarts goes on, as does one without its Docker."""
        self._copy(running.container_id, running.directory, running.run)
        silent = False
        while True:
            await gone(running.engine)
            try:
                found = await self._containers.find(running.container_id)
            except (UnreachableError, RefusedError) as error:
                if not silent:
                    log.warning(
                        "a container's end cannot be told: %s", error, extra={"directory": str(running.directory)}
                    )
                silent = True
                await asyncio.sleep(_ASK_AGAIN_SECONDS)
                continue
            if found is None or not found.running:
                return Exit() if found is None else found.exit
            silent = False
            # Its process ended, and Docker has not noticed yet; or it was started again by hand.
            running.engine = _identity(found)
            await asyncio.sleep(_ASK_AGAIN_SECONDS if running.engine is None else _LOOK_SECONDS)

    async def stop(self, directory: Path, grace_seconds: float) -> None:
        """Stop and remove every container that carries the assignment's label, after its output was copied."""
        if not self.holds(directory):
            return
        try:
            await self._clear(directory, grace_seconds)
        except UnreachableError as error:
            raise StopError(error.reason, error.message) from error
        except RefusedError as error:
            raise StopError("STOP_FAILED", f"{error.message}; `docker ps` on the node shows its state") from error
        (directory / _MARK).unlink(missing_ok=True)
        self._strangers.discard(directory.name)

    def holds(self, directory: Path) -> bool:
        """Whether a container was made here, or one was found."""
        return directory.name in self._strangers or (directory / _MARK).exists()

    def memory_bytes(self, running: Running) -> int | None:
        """Return what the container's processes hold beside the page cache."""
        if running.engine is None:
            return None
        family = Family(directory=str(running.directory), engine=running.engine)
        return procfs.private_bytes(stat.pid for stat in family.members())

    def sweep(self, kept: frozenset[str]) -> None:
        """Remove nothing: a container that came to nothing is removed by the next launch, or reported."""

    async def strangers(self, known: Collection[str]) -> Mapping[str, str]:
        """Return the containers of this data directory that have no handle."""
        try:
            listed = await glance(address(), self._owner.filters())
        except (OSError, TimeoutError) as error:
            log.warning("containers were not looked for: %s", error)
            return {}
        found = {
            one.Labels[ASSIGNMENT]: f"container {one.Id[:12]} carries this agent's labels, and there is no handle of it"
            for one in listed
            if one.Labels[ASSIGNMENT] not in known
        }
        self._strangers |= found.keys()
        return found

    async def close(self) -> None:
        """End the copying; containers go on, and the Docker Engine keeps what they write."""
        await asyncio.gather(*(self._finish(container_id, drain=False) for container_id in list(self._copies)))
        self._daemon.close()

    async def _clear(self, directory: Path, grace_seconds: float) -> None:
        """Remove what carries an assignment's label, and prove that nothing is left."""
        for found in await self._containers.of(directory.name):
            if not found.never_started:
                self._copy(found.container_id, directory, run_of(found.labels))
                await self._containers.stop(found.container_id, grace_seconds)
                failpoints.reach("container.stopped")
                await self._finish(found.container_id, drain=True)
            await self._containers.remove(found.container_id)
            failpoints.reach("container.removed")
        left = await self._containers.of(directory.name)
        if left:
            raise StopError("STOP_FAILED", f"{_named(left)} is still there after its removal")

    def _runs(self, directory: Path, run: int, found: Found) -> Running:
        return Running(
            executor=NAME, directory=directory, run=run, engine=_identity(found), container_id=found.container_id
        )

    def _copy(self, container_id: str, directory: Path, run: int) -> None:
        if container_id not in self._copies:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._copies[container_id] = copy = Copy(self._daemon, container_id, directory, run)
            copy.begin()

    async def _finish(self, container_id: str, *, drain: bool) -> None:
        copy = self._copies.pop(container_id, None)
        if copy is not None:
            await threaded(lambda: copy.finish(drain=drain), "logs")


def _identity(found: Found) -> Identity | None:
    """Return a container's first process, None where its number means nothing to this agent (another namespace)."""
    identity = procfs.identify(found.pid) if found.pid else None
    return identity if identity is not None and procfs.in_group(found.pid, found.container_id) else None


def _named(containers: Collection[Found]) -> str:
    return " and ".join(f"container {found.container_id[:12]}" for found in containers)


def _not_started(image: str, error: RefusedError) -> LaunchError:
    said = error.explanation
    if "port is already allocated" in said or "address already in use" in said:
        return PortTakenError(f"{said}; another port is tried")
    if "no space left" in said:
        return LaunchError("DISK_FULL", f"{said}; `docker system df` on the node shows what takes the room")
    if "device information" in said:
        return LaunchError(
            "DEVICE_MISSING", f"a device's node is not on this machine: {said}; see that the vendor's driver is loaded"
        )
    if "executable file not found" in said or "no such file or directory" in said.lower():
        return LaunchError(
            "EXEC_FAILED", f"{image} could not be executed: {said}; correct the image, or the deployment's command"
        )
    return LaunchError("CONTAINER_REFUSED", f"{image} was not started: {said}; `dockerd`'s log on the node says more")
