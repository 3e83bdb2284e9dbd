"""What the agent asks the Docker Engine about containers, and its answers as our own types."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from motorpool_agent.runtime.docker.creation import Abilities
from motorpool_agent.runtime.docker.daemon import CALL_SECONDS, Daemon, address
from motorpool_agent.runtime.docker.errors import RefusedError, UnreachableError
from motorpool_agent.runtime.docker.glance import SCHEME, Engine, engine
from motorpool_agent.runtime.docker.labels import Owner
from motorpool_agent.runtime.executor import Exit

_NOT_MODIFIED = 304
_NOT_FOUND = 404
_CONFLICT = 409
_SIGNAL_BASE = 128
_SIGNALS = 64
# Podman names none, has its own, and fails if it is asked for while that is not installed.
_PODMAN_INIT = "/usr/libexec/podman/catatonit"
# What shells and Docker's init exit with if there is no such program, or it may not be executed.
_NOT_EXECUTED = {126: "it may not be executed", 127: "the image has no such program"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A container as it is now."""

    container_id: str
    labels: Mapping[str, str]
    status: str
    pid: int
    exit: Exit

    @property
    def running(self) -> bool:
        """Whether it has processes, frozen ones too."""
        return self.status in {"running", "paused", "restarting"}

    @property
    def never_started(self) -> bool:
        """Whether nothing in it was ever executed."""
        return self.status == "created"


class Containers:
    """The containers of one agent."""

    def __init__(self, daemon: Daemon, owner: Owner) -> None:
        self._daemon = daemon
        self._owner = owner

    async def engine(self) -> str:
        """Return what answers, e.g. ``Docker Engine 27.1.2``."""
        if address().startswith(SCHEME):
            try:
                return (await engine(address())).words
            except TimeoutError as error:
                raise UnreachableError(address(), "no answer in time") from error
            except OSError as error:
                raise UnreachableError(address(), error.strerror or str(error)) from error
        said: dict[str, Any] = await self._daemon.call(lambda client: client.version(), what="version")
        return Engine(Version=str(said.get("Version", ""))).words

    async def abilities(self) -> Abilities:
        """Return what the Docker Engine of this machine can."""
        info: dict[str, Any] = await self._daemon.call(lambda client: client.info(), what="info")
        return Abilities(
            init=shutil.which(str(info.get("InitBinary") or _PODMAN_INIT)) is not None,
            runtimes=frozenset(info.get("Runtimes") or ()),
            cdi=bool(info.get("CDISpecDirs")),
        )

    async def of(self, assignment_id: str) -> list[Found]:
        """Return every container that carries an assignment's label."""
        filters = self._owner.filters(assignment_id)
        listed: list[dict[str, Any]] = await self._daemon.call(
            lambda client: client.containers(all=True, filters=filters), what="list containers"
        )
        found = [await self.find(str(one["Id"])) for one in listed]
        return [one for one in found if one is not None]

    async def find(self, container_id: str) -> Found | None:
        """Return a container, None if there is none of this id."""
        try:
            content: dict[str, Any] = await self._daemon.call(
                lambda client: client.inspect_container(container_id), what="inspect container"
            )
        except RefusedError as error:
            if error.status == _NOT_FOUND:
                return None
            raise
        state: dict[str, Any] = content["State"]
        return Found(
            container_id=str(content["Id"]),
            labels=content["Config"].get("Labels") or {},
            status=str(state.get("Status", "")),
            pid=int(state.get("Pid") or 0),
            exit=_exit(state),
        )

    async def create(self, name: str, body: Mapping[str, Any]) -> str:
        """Create a container and return its id."""
        answer: dict[str, Any] = await self._daemon.call(
            lambda client: client.create_container_from_config(dict(body), name), what="create container"
        )
        return str(answer["Id"])

    async def start(self, container_id: str) -> None:
        """Start it."""
        await self._daemon.call(lambda client: client.start(container_id), what="start container")

    async def stop(self, container_id: str, grace_seconds: float) -> None:
        """The image's stop signal (TERM), the grace, KILL."""
        grace = max(0, round(grace_seconds))
        try:
            await self._daemon.call(
                lambda client: client.stop(container_id, timeout=grace),
                what="stop container",
                seconds=grace + CALL_SECONDS,
            )
        except RefusedError as error:
            if error.status not in {_NOT_MODIFIED, _NOT_FOUND}:
                raise

    async def remove(self, container_id: str) -> None:
        """Remove it with its anonymous volumes; it does not run any more."""
        try:
            await self._daemon.call(
                lambda client: client.remove_container(container_id, v=True), what="remove container"
            )
        except RefusedError as error:
            # Gone, or somebody else is at it: who asks looks again.
            if error.status not in {_NOT_FOUND, _CONFLICT}:
                raise


def _exit(state: Mapping[str, Any]) -> Exit:
    code = int(state.get("ExitCode") or 0)
    out_of_memory = bool(state.get("OOMKilled"))
    if code in _NOT_EXECUTED:
        return Exit(exit_code=code, error=f"{_NOT_EXECUTED[code]} (status {code})")
    if _SIGNAL_BASE < code <= _SIGNAL_BASE + _SIGNALS:
        # Docker tells a signal in this way only, as shells do.
        return Exit(signal=code - _SIGNAL_BASE, out_of_memory=out_of_memory)
    return Exit(exit_code=code, out_of_memory=out_of_memory)
