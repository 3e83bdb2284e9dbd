"""Instances as callers see them, and what agents report of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from motorpool import v1
from motorpool_controller.domain.attempts import Attempt, Failure
from motorpool_controller.domain.workload import Instance, InstanceState, MemberRun, RenderedLaunch
from motorpool_controller.reconcile.world import Report
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.assignment import assignment_of
from motorpool_controller.services.convert.maintenance import drain_message
from motorpool_controller.services.convert.node import etag
from motorpool_controller.services.convert.placement import placement_message, refusal_message

LOG_TAIL_LINES = 200
_ATTEMPT_LINES = 20
_MOST_ATTEMPTS = 60
_MOST_PARTS = 16
_REPORTED = frozenset(
    {
        InstanceState.DOWNLOADING,
        InstanceState.STARTING,
        InstanceState.RUNNING,
        InstanceState.STOPPING,
        InstanceState.ERROR,
        InstanceState.QUARANTINED,
    }
)


def instance_message(instance: Instance) -> v1.Instance:
    """Return an instance as a message."""
    return v1.Instance(
        name=instance.name,
        uid=instance.uid,
        deployment=instance.deployment,
        deployment_generation=instance.deployment_generation,
        generation=instance.generation,
        state=fields.number(v1.InstanceState, "INSTANCE_STATE", instance.state),
        state_message=instance.state_message,
        placement=None if instance.placement is None else placement_message(instance.placement),
        refusals=[refusal_message(refusal) for refusal in instance.refusals],
        endpoint=instance.endpoint,
        launch=None if instance.launch is None else launch_message(instance.launch),
        pid=instance.pid,
        start_time=fields.timestamp(instance.start_time),
        restart_count=instance.restart_count,
        first_failure=None if instance.first_failure is None else _failure_message(instance.first_failure),
        last_failure=None if instance.last_failure is None else _failure_message(instance.last_failure),
        create_time=fields.timestamp(instance.create_time),
        state_time=fields.timestamp(instance.state_time),
        etag=etag(instance.revision),
        adopted=instance.adopted,
        pid_start_ticks=instance.pid_start_ticks,
        deployment_revision=instance.template_generation,
        next_try_time=None if instance.next_try_time is None else fields.timestamp(instance.next_try_time),
        members=[] if instance.gang is None else [_member_message(member) for member in instance.gang.members],
        drain=None if instance.drain is None else drain_message(instance.drain),
        attempt=instance.attempt,
        attempts=[_attempt_message(attempt) for attempt in instance.attempts],
    )


def report_of(message: v1.ObservedInstance, field: str = "instance") -> Report:
    """Return what an agent knows of one assignment's process."""
    state = fields.required(v1.InstanceState, "INSTANCE_STATE", message.state, InstanceState, f"{field}.state")
    if state not in _REPORTED:
        raise fields.invalid(f"{field}.state", f"an agent cannot report {state.name}; that is the controller's to say")
    return Report(
        assignment_id=fields.name(message.assignment_id, f"{field}.assignment_id"),
        generation=fields.size(message.generation, f"{field}.generation"),
        state=state,
        message=fields.text(message.message),
        launch=_launch_of(message.launch, f"{field}.launch") if message.HasField("launch") else None,
        pid=fields.size(message.pid, f"{field}.pid"),
        pid_start_ticks=fields.size(message.pid_start_ticks, f"{field}.pid_start_ticks"),
        start_time=(
            fields.time_of(message.start_time, f"{field}.start_time") if message.HasField("start_time") else None
        ),
        restart_count=fields.size(message.restart_count, f"{field}.restart_count"),
        first_failure=(
            _failure_of(message.first_failure, f"{field}.first_failure") if message.HasField("first_failure") else None
        ),
        last_failure=(
            _failure_of(message.last_failure, f"{field}.last_failure") if message.HasField("last_failure") else None
        ),
        progress_bytes=(
            fields.size(message.progress_bytes, f"{field}.progress_bytes")
            if message.HasField("progress_bytes")
            else None
        ),
        progress_total_bytes=(
            fields.size(message.progress_total_bytes, f"{field}.progress_total_bytes")
            if message.HasField("progress_total_bytes")
            else None
        ),
        progress_bytes_per_second=(
            fields.size(message.progress_bytes_per_second, f"{field}.progress_bytes_per_second")
            if message.HasField("progress_bytes_per_second")
            else None
        ),
        adopted=message.adopted,
        next_try_time=(
            fields.time_of(message.next_try_time, f"{field}.next_try_time")
            if message.HasField("next_try_time")
            else None
        ),
        ports=_ports_of(message.ports, f"{field}.ports"),
        parts=_parts_of(message.parts, f"{field}.parts"),
        instance=fields.text(message.instance),
        assignment=assignment_of(message.assignment, f"{field}.assignment") if message.HasField("assignment") else None,
        attempt=fields.size(message.attempt, f"{field}.attempt"),
        attempts=tuple(_attempt_of(each, f"{field}.attempts") for each in message.attempts[-_MOST_ATTEMPTS:]),
    )


def _member_message(member: MemberRun) -> v1.InstanceMember:
    return v1.InstanceMember(
        node=member.node,
        rank=member.rank,
        state=fields.number(v1.InstanceState, "INSTANCE_STATE", member.state),
        state_message=member.message,
        ports=port_messages(member.ports),
        parts=member.parts,
        launch=None if member.launch is None else launch_message(member.launch),
        pid=member.pid,
        start_time=fields.timestamp(member.start_time),
        adopted=member.adopted,
        attempt=member.attempt,
        attempts=[_attempt_message(attempt) for attempt in member.attempts],
    )


def port_messages(ports: Mapping[str, int]) -> list[v1.Port]:
    """Return named ports as messages."""
    return [v1.Port(port_name=name, number=number) for name, number in ports.items()]


def _attempt_message(attempt: Attempt) -> v1.Attempt:
    return v1.Attempt(
        number=attempt.number,
        begin_time=None if attempt.begin_time is None else fields.timestamp(attempt.begin_time),
        failure=_failure_message(attempt.failure),
        executed=attempt.executed,
        ready=attempt.ready,
        generation=attempt.generation,
    )


def _attempt_of(message: v1.Attempt, field: str) -> Attempt:
    failure = _failure_of(message.failure, f"{field}.failure")
    return Attempt(
        number=fields.size(message.number, f"{field}.number"),
        begin_time=(
            fields.time_of(message.begin_time, f"{field}.begin_time") if message.HasField("begin_time") else None
        ),
        failure=replace(failure, log_tail=failure.log_tail[-_ATTEMPT_LINES:]),
        executed=message.executed,
        ready=message.ready,
        generation=fields.size(message.generation, f"{field}.generation"),
    )


def _failure_message(failure: Failure) -> v1.Failure:
    return v1.Failure(
        time=fields.timestamp(failure.time),
        reason=failure.reason,
        message=failure.message,
        exit_code=failure.exit_code,
        signal=failure.signal,
        out_of_memory=failure.out_of_memory,
        evidence=failure.evidence,
        log_tail=failure.log_tail,
    )


def _failure_of(message: v1.Failure, field: str) -> Failure:
    return Failure(
        time=fields.time_of(message.time, f"{field}.time"),
        reason=fields.name(message.reason, f"{field}.reason"),
        message=fields.text(message.message),
        exit_code=message.exit_code if message.HasField("exit_code") else None,
        signal=message.signal if message.HasField("signal") else None,
        out_of_memory=message.out_of_memory,
        evidence=fields.text(message.evidence),
        log_tail=tuple(fields.text(line) for line in message.log_tail[-LOG_TAIL_LINES:]),
    )


def launch_message(launch: RenderedLaunch) -> v1.RenderedLaunch:
    """Return a launch command as a message."""
    return v1.RenderedLaunch(
        executor=launch.executor,
        argv=launch.argv,
        env=launch.env,
        image=launch.image,
        ports=port_messages(launch.ports),
        listen_address=launch.listen_address,
    )


def _launch_of(message: v1.RenderedLaunch, field: str) -> RenderedLaunch:
    return RenderedLaunch(
        executor=fields.word(message.executor, f"{field}.executor"),
        argv=tuple(message.argv),
        env={name: message.env[name] for name in sorted(message.env)},
        image=fields.word(message.image, f"{field}.image"),
        ports=_ports_of(message.ports, f"{field}.ports"),
        listen_address=fields.word(message.listen_address, f"{field}.listen_address"),
    )


def _ports_of(ports: Iterable[v1.Port], field: str) -> dict[str, int]:
    return {
        fields.name(port.port_name, field): _port(port.number, field)
        for port in sorted(ports, key=lambda port: port.port_name)
    }


def _parts_of(parts: Mapping[str, str], field: str) -> dict[str, str]:
    if len(parts) > _MOST_PARTS:
        raise fields.invalid(field, f"it has {len(parts)} entries; at most {_MOST_PARTS} are taken")
    return fields.words(parts, field)


def _port(number: int, field: str) -> int:
    if not 0 < number < 65_536:
        raise fields.invalid(field, f"{number} is no port")
    return number
