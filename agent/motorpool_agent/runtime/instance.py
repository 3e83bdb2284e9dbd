"""One assignment on this node: launched, watched, restarted, replaced, adopted, removed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from functools import partial

from motorpool_agent import failpoints
from motorpool_agent.reconcile.assignment import Assignment, Tombstone
from motorpool_agent.reconcile.decide import Known, restart_delay_seconds
from motorpool_agent.reconcile.handle import Handle, LaunchRecord, Phase
from motorpool_agent.reconcile.observation import Failure, ObservedInstance, State
from motorpool_agent.runtime import failures, launching, membership, ports, procfs
from motorpool_agent.runtime.context import Context
from motorpool_agent.runtime.errors import LaunchError, PortTakenError, RuntimeFault, StartUnknownError, StopError
from motorpool_agent.runtime.executor import Evidence, Exit, Running, Verdict
from motorpool_agent.runtime.preparing import prepare
from motorpool_agent.runtime.record import Record
from motorpool_agent.runtime.room import Holding
from motorpool_agent.runtime.secrets import Secrets
from motorpool_agent.runtime.watching import NotComputing, NotReady, watch
from motorpool_agent.runtime.work import Work, whole
from motorpool_agent.state.errors import HandleError
from motorpool_sdk.backend import Profile

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.02
_ASK_AGAIN_SECONDS = 1.0


class Instance:
    """The life of one ``assignment``. At most one task works on it at any time; what it sees is in ``observed``."""

    def __init__(
        self, context: Context, assignment: Assignment, *, handle: Handle | None = None, unproven: str = ""
    ) -> None:
        self._context = context
        self._released = asyncio.Event()
        self.assignment = assignment
        self._take(assignment)
        self._unproven = unproven
        self._removing = False
        self._present = asyncio.Event()
        self._present.set()
        self._work = Work(f"instance {assignment.assignment_id}", self._broke)
        self._avoid_ports: frozenset[int] = frozenset()
        seen = ObservedInstance(
            assignment_id=assignment.assignment_id,
            instance=assignment.instance,
            generation=assignment.generation,
            state=State.QUARANTINED if unproven else State.STARTING,
            message=unproven,
        )
        self._record = Record(context, seen, handle, assignment)

    @property
    def observed(self) -> ObservedInstance:
        """What is known of it."""
        # What is unproven is quarantined already, for a reason that says more.
        if self._present.is_set() or self._removing or self._unproven:
            return self._record.seen
        return self._record.left(self.assignment)

    @property
    def running(self) -> Running | None:
        """Its process, if it has one."""
        return self._record.running

    @property
    def secrets(self) -> Secrets:
        """What of its launch nobody may read."""
        return self._record.secrets

    @property
    def holding(self) -> Holding:
        """What it may take of its devices."""
        claims = {claim.device_id: claim.memory_bytes for claim in self.assignment.devices}
        return Holding(instance=self.assignment.instance, pid=self._record.seen.pid, claims=claims)

    @property
    def known(self) -> Known:
        """What the decision needs to know of it."""
        return Known(generation=self.assignment.generation, proven=not self._unproven)

    def begin(self) -> None:
        """Launch it."""
        self._work.switch(self._live)

    async def adopt(self) -> None:
        """Take over what a former agent left, as far as it is this instance's for certain."""
        handle = self._record.handle
        if handle is None or self._unproven:
            return
        evidence = await self._context.executor.inspect(self._context.handles.directory(self._id), handle)
        for port in {*handle.launch.ports.values(), *handle.launch.held_ports}:
            self._context.ports.claim(self._id, port)
        # As it was last known where nobody can tell now.
        ready = handle.ready and evidence.verdict in {Verdict.RUNNING, Verdict.UNKNOWN}
        state = State.RUNNING if ready else State.STARTING
        await self._record.restore(handle, evidence.running, state=state, message=evidence.message)
        if evidence.verdict is Verdict.UNCERTAIN:
            self._quarantine(evidence.message)
        else:
            self._work.switch(lambda: self._live(evidence))

    def replace(self, assignment: Assignment) -> None:
        """Stop what runs and launch a higher generation."""
        self._take(assignment)
        self._present.set()
        self._work.switch(self._replace)

    def remove(self, tombstone: Tombstone) -> None:
        """Stop it and remove what it left; a second order changes nothing."""
        if not self._removing:
            self._removing = True
            self._work.switch(lambda: self._remove(tombstone))

    def leave(self) -> None:
        """Leave it as it is: the controller does not name it any more."""
        if self._present.is_set() and not self._removing:
            self._present.clear()
            self._context.notify()

    def keep(self, assignment: Assignment) -> None:
        """Go on: the controller names it, and may say that all members of its gang have reserved."""
        if assignment.generation == self.assignment.generation and assignment.gang and assignment.gang.run:
            if not self._released.is_set():
                self.assignment = assignment
            self._released.set()
        if not self._present.is_set():
            self._present.set()
            self._context.notify()

    async def close(self) -> None:
        """End the work on it, not it."""
        await self._work.close()

    def _take(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self._released.clear()
        if assignment.gang is None or assignment.gang.run:
            self._released.set()

    @property
    def _id(self) -> str:
        return self.assignment.assignment_id

    @property
    def _profile(self) -> Profile | None:
        """What its backend's plugin says, where it says anything now."""
        return self._context.backends.profile(self.assignment.backend)

    async def _live(self, evidence: Evidence | None = None) -> None:
        """Keep it running; returns only when trying again makes no sense."""
        failure: Failure | None = None
        running: Running | None = None
        while True:
            if evidence is not None and self._record.handle is not None:
                evidence = await self._settled(self._record.handle, evidence)
                if evidence.verdict is Verdict.UNCERTAIN:
                    self._quarantine(evidence.message)
                    return
                running, failure = await self._found(self._record.handle, evidence)
            evidence, final = None, False
            if failure is None:
                try:
                    failure = await self._run(running)
                except StartUnknownError as error:
                    # It may run: looked for as an agent that is new looks for it.
                    evidence = Evidence(verdict=Verdict.UNKNOWN, message=error.message)
                    continue
                except RuntimeFault as error:
                    failure = failures.fault(error.reason, error.message)
                    final = isinstance(error, LaunchError) and error.final
                except OSError as error:
                    failure = failures.fault("HOST_ERROR", f"{error}; see to the agent's data directory and limits")
            running = None
            self._record.ended()
            if failure is not None:
                delay = await self._failed(failure, final=final)
                if delay is None:
                    return
                await asyncio.sleep(delay)
                self._record.tried_again()
                failure = None

    async def _settled(self, handle: Handle, evidence: Evidence) -> Evidence:
        """Look again until the host shows what became of the last run."""
        directory = self._context.handles.directory(self._id)
        while evidence.verdict in {Verdict.STARTING, Verdict.UNKNOWN}:
            if evidence.verdict is Verdict.UNKNOWN:
                self._record.see(message=evidence.message)
            await asyncio.sleep(_LOOK_SECONDS if evidence.verdict is Verdict.STARTING else _ASK_AGAIN_SECONDS)
            evidence = await self._context.executor.inspect(directory, handle)
        return evidence

    async def _found(self, handle: Handle, evidence: Evidence) -> tuple[Running | None, Failure | None]:
        if evidence.running is not None:
            self._record.runs(evidence.running, adopted=True, message="")
            return evidence.running, None
        if evidence.verdict in {Verdict.EXITED, Verdict.GONE}:
            return None, await self._end(evidence.exit or Exit(), handle.run)
        return None, None

    def _quarantine(self, message: str) -> None:
        self._unproven = f"{message}; it is left as it is, `motorpool delete` removes it"
        self._record.see(state=State.QUARANTINED, message=self._unproven)

    async def _run(self, running: Running | None) -> Failure | None:
        """Launch it unless it runs, and watch it to its end; None to try again at once (its port was taken)."""
        if running is None:
            await self._present.wait()
            try:
                running = await self._launch()
            except PortTakenError as error:
                return self._leave_port(error.message)
        handle = self._record.handle
        assert handle is not None  # noqa: S101  # a run has a handle before it is executed
        outcome = await watch(
            handle.launch,
            self._context.executor.ended(running),
            self._record,
            self._context.timings,
            was_ready=handle.ready,
            seconds_since_start=self._record.age_seconds,
            api_key=handle.assignment.api_key,
            infer=membership.infer(self.assignment, handle.launch),
        )
        if isinstance(outcome, NotReady | NotComputing):
            why = outcome.why if isinstance(outcome, NotComputing) else f"not ready within {outcome.seconds:g} s"
            self._record.see(message=f"{why}; stopping it")
            tail = await self._record.tail(running.run)
            await self._context.executor.stop(running.directory, membership.grace_seconds(handle))
            log_command = failures.log_command(self.assignment, running.run)
            if isinstance(outcome, NotComputing):
                return failures.not_computing(outcome.why, log_command, tail)
            return await asyncio.to_thread(
                failures.not_ready, outcome.seconds, log_command, tail, self._profile, outcome.missing
            )
        failure = await self._end(outcome, running.run)
        handle = self._record.handle or handle
        address, port = handle.launch.listen_address, handle.launch.ports[launching.PORT_NAME]
        if not handle.ready and not outcome.error and not ports.free(address, port):
            return self._leave_port(f"port {port} was taken by another program")
        self._avoid_ports = frozenset()
        if failure.reason == "PORT_TAKEN":
            # Who had it is gone already, or it was another port of the engine's.
            self._leave_port(failure.evidence)
        return failure

    def _leave_port(self, message: str) -> Failure | None:
        """Do not try the last launch's port again until a launch came up; where others know it, that is a failure."""
        if self._record.handle is not None:
            self._avoid_ports |= {self._record.handle.launch.ports[launching.PORT_NAME]}
        if self.assignment.gang is not None:
            return failures.fault("PORT_TAKEN", f"{message}; all members are to reserve anew")
        log.info("launch goes to another port: %s", message, extra={"instance": self.assignment.instance})
        return None

    async def _reserved(self, reserved: Mapping[str, int], parts: Mapping[str, str]) -> Assignment:
        """Report what a member of a gang reserved, and return its assignment once all members have."""
        message = "reserved; waiting for the other members"
        self._record.see(state=State.STARTING, message=message, ports=reserved, parts=parts)
        await self._released.wait()
        return self.assignment

    async def _launch(self) -> Running:
        assignment, before = self.assignment, self._record.handle
        number = self._record.begins()
        try:
            directory = self._context.handles.directory(self._id)
        except HandleError as error:
            raise LaunchError(error.reason, str(error), final=True) from error
        self._record.see(
            generation=assignment.generation,
            pid=0,
            pid_start_ticks=0,
            start_time=None,
            adopted=False,
            ports={},
            parts={},
        )
        record = await prepare(
            self._context,
            assignment,
            directory,
            last_port=None if before is None else before.launch.ports.get(launching.PORT_NAME),
            avoid_ports=self._avoid_ports,
            say=self._record.progress,
            reserved=self._reserved,
        )
        await self._present.wait()
        assignment = self.assignment
        # Shown before it is executed: what never comes up can be looked at too.
        self._record.see(state=State.STARTING, message="launching", launch=record.rendered)
        handle = Handle(
            assignment=assignment,
            phase=Phase.PREPARED,
            run=number,
            boot_id=procfs.boot_id(),
            launch=record,
            restart_count=self._record.seen.restart_count,
            first_failure=self._record.seen.first_failure,
            last_failure=self._record.seen.last_failure,
        )
        return await whole(self._execute(handle, record))

    async def _execute(self, handle: Handle, record: LaunchRecord) -> Running:
        directory = self._context.handles.create(self._id)
        self._record.handle = handle
        running = await self._context.executor.start(
            directory, handle.run, record, lambda: self._context.handles.write(handle)
        )
        failpoints.reach("engine.executed")
        await self._record.started(running, replace(handle, start_time=failures.now()))
        return running

    async def _end(self, exit_: Exit, run: int) -> Failure:
        """Return the failure that an end is, after what it left behind was ended too."""
        directory = self._context.handles.directory(self._id)
        try:
            await self._context.executor.stop(directory, 0.0)
        except StopError as error:
            log.warning("remains were not ended: %s", error, extra={"instance": self.assignment.instance})
        tail = await self._record.tail(run)
        command, limit_bytes = failures.log_command(self.assignment, run), self._record.memory_limit_bytes
        return await asyncio.to_thread(failures.ended, exit_, command, tail, self._profile, limit_bytes)

    async def _failed(self, failure: Failure, *, final: bool) -> float | None:
        """Record a failure; return the delay before the next try, None if there is none."""
        delay: float | None = None
        message = failure.message
        # Members of a gang start again together, when the controller says so.
        if self.assignment.restart_on_error and not final and self.assignment.gang is None:
            delay = restart_delay_seconds(self._record.seen.restart_count)
            message += f"; trying again in {delay:g} s" if delay else "; trying again"
            delay *= self._context.timings.backoff_scale
        await self._record.failed(
            failure,
            message,
            next_try_time=None if delay is None else failures.now() + timedelta(seconds=delay),
            restart_count=self._record.seen.restart_count + (delay is not None),
        )
        log.warning("instance failed: %s", failure.reason, extra={"instance": self.assignment.instance})
        return delay

    async def _replace(self) -> None:
        message = f"making way for generation {self.assignment.generation}"
        self._record.see(state=State.STOPPING, message=message, next_try_time=None)
        await self._insist(partial(self._stop, removal=False))
        self._record.ended()
        if self.assignment.gang is None:
            self._avoid_ports = frozenset()
        self._record.see(state=State.STARTING, message="", restart_count=0, first_failure=None, last_failure=None)
        await self._live()

    async def _remove(self, tombstone: Tombstone) -> None:
        message = tombstone.message or "removal was ordered"
        self._record.see(state=State.STOPPING, message=message, next_try_time=None)
        failpoints.reach("stop.ordered")
        await self._insist(self._clear)
        self._record.ended()
        self._context.ports.release(self._id)
        self._context.removed(self._id)

    async def _insist(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do ``work`` until it is done; meanwhile say what stands in its way."""
        while True:
            try:
                return await work()
            except HandleError:
                return None  # Nothing was ever executed, or written, under such an id.
            except (StopError, OSError) as error:
                self._record.see(state=State.QUARANTINED, message=f"it cannot be removed yet: {error}")
                await asyncio.sleep(self._context.timings.stop_retry_seconds)

    async def _stop(self, *, removal: bool = True) -> None:
        """End all that is ours for certain."""
        directory = self._context.handles.directory(self._id)
        handle = self._record.handle
        if directory.exists() or self._context.executor.holds(directory):
            await self._context.executor.stop(directory, membership.grace_seconds(handle, removal=removal))

    async def _clear(self) -> None:
        """End all that is ours for certain, and remove what it left on disk."""
        await self._stop()
        failpoints.reach("stop.proven")
        await whole(asyncio.to_thread(self._context.handles.remove, self._id))

    def _broke(self, error: Exception) -> None:
        log.error("work on instance ended", exc_info=error, extra={"instance": self.assignment.instance})
        self._record.see(state=State.ERROR, message="a fault of the agent, its log says more; restart the agent")
