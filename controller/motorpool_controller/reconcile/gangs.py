"""Instances over several nodes: what members are told, what their reports come to, and starting all of them or none.

Every member is first told to reserve. Its agent reserves ports, looks whether all that the member needs is there, and
reports; when all have, each is told everybody's ports and to run, in the order of the backend's style. A member that
fails, at whatever point, takes all down: the next generation begins with reserving, for which agents kill what runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from motorpool_controller.domain.attempts import Failure
from motorpool_controller.domain.event import Severity
from motorpool_controller.domain.fleet import Node, StartOrder
from motorpool_controller.domain.placement import Member, Placement
from motorpool_controller.domain.workload import (
    Assignment,
    Gang,
    GangDevice,
    GangMember,
    GangPhase,
    Instance,
    InstanceState,
    MemberRun,
)
from motorpool_controller.reconcile.draft import Draft
from motorpool_controller.reconcile.moves import moved
from motorpool_controller.reconcile.world import Report

_S = InstanceState
DELAY_SECONDS = (10.0, 300.0)
WELL_SECONDS = 60.0
"""What ran for so long is restarted as if it had never failed."""
_ANOTHER = "its agent lost the process that the others had joined, and started another one, which cannot join them"


def new_gang(placement: Placement, order: StartOrder) -> Gang | None:
    """Return the members of a placement before anything was said of them; None on one node."""
    if len(placement.members) < 2:
        return None
    return Gang(members=tuple(_fresh(placement)), order=order)


def gang_members(placement: Placement, nodes: Mapping[str, Node]) -> tuple[GangMember, ...]:
    """Return the members as each is told of all, ports aside; none on one node."""
    if len(placement.members) < 2:
        return ()
    return tuple(_described(member, nodes[member.node]) for member in placement.members)


def member_assignment(instance: Instance, node: str) -> Assignment | None:
    """Return what a node is told of an instance that is placed there."""
    assignment, gang, placement = instance.assignment, instance.gang, instance.placement
    if assignment is None or gang is None or placement is None:
        return assignment
    own = next((member for member in gang.members if member.node == node), None)
    claim = next((member.claim for member in placement.members if member.node == node), None)
    if own is None or claim is None:
        return None
    ports = {member.rank: member.ports for member in gang.members}
    return replace(
        assignment,
        generation=instance.generation,
        claim=claim,
        rank=own.rank,
        gang_phase=own.told,
        gang=tuple(
            # Until all have reserved nobody is told ports: what is told changes once, not with every report.
            replace(member, ports=ports[member.rank] if own.told is GangPhase.RUN else {})
            for member in assignment.gang
        ),
    )


def observe_member(instance: Instance, gang: Gang, report: Report, node: str, now: datetime) -> Instance:
    """Return the instance as the report of one of its members shows it."""
    own = next((member for member in gang.members if member.node == node), None)
    if own is None:
        return instance
    seen = replace(
        own,
        state=report.state,
        message=report.message,
        ports=report.ports or own.ports,
        parts=report.parts or own.parts,
        launch=report.launch or own.launch,
        pid=report.pid,
        pid_start_ticks=report.pid_start_ticks,
        start_time=report.start_time,
        failure=report.last_failure if report.state is _S.ERROR else None,
        adopted=report.adopted,
        attempt=report.attempt,
        attempts=report.attempts,
    )
    if _is_another(own, seen):
        seen = replace(seen, state=_S.ERROR, message=_ANOTHER, failure=_replaced(now))
    members = tuple(seen if member is own else member for member in gang.members)
    return together(replace(instance, gang=replace(gang, members=members)), now)


def _is_another(own: MemberRun, seen: MemberRun) -> bool:
    """Return whether a member has another process than the one that the others have joined."""
    before, after = (own.pid, own.pid_start_ticks), (seen.pid, seen.pid_start_ticks)
    return all(before) and all(after) and before != after


def _replaced(now: datetime) -> Failure:
    return Failure(time=now, reason="MEMBER_REPLACED", message=_ANOTHER)


def together(instance: Instance, now: datetime) -> Instance:
    """Return the instance in the state that those of its members come to."""
    gang = instance.gang
    if gang is None:
        return instance
    leader = gang.members[0]
    instance = replace(
        instance,
        launch=leader.launch,
        pid=leader.pid,
        pid_start_ticks=leader.pid_start_ticks,
        start_time=leader.start_time,
        adopted=leader.adopted,
    )
    if instance.leaves:
        return instance
    state, message = _combined(instance, gang)
    if state is _S.ERROR and instance.state is not _S.ERROR:
        failure = next(_failures(gang), None)
        first = instance.first_failure or failure
        instance = replace(instance, first_failure=first, last_failure=failure or instance.last_failure)
    running_since = (gang.running_time or now) if state is _S.RUNNING else gang.running_time
    return moved(replace(instance, gang=replace(gang, running_time=running_since)), state, message, now)


def lose(instance: Instance, nodes: frozenset[str], message: str, now: datetime) -> Instance:
    """Return the instance with its members on these nodes out of reach."""
    gang = instance.gang
    if gang is None:
        return moved(instance, _S.UNREACHABLE, message, now)
    members = tuple(
        replace(member, state=_S.UNREACHABLE, message=message) if member.node in nodes else member
        for member in gang.members
    )
    return moved(replace(instance, gang=replace(gang, members=members)), _S.UNREACHABLE, message, now)


def settle_gangs(draft: Draft) -> None:
    """Start members once all of them can, and all of them again once one of them failed."""
    for instance in draft.looked_at():
        gang = instance.gang
        if gang is None or instance.leaves:
            continue
        if {member.state for member in gang.members} & {_S.UNREACHABLE, _S.QUARANTINED}:
            # What is left of it there nobody can stop now: a second copy of the others would be one too many.
            continue
        compared = _compared(gang, draft.now)
        if compared is gang:
            _settle(draft, instance, gang)
        else:
            _settle(draft, together(replace(instance, gang=compared), draft.now), compared)


def release_gone(draft: Draft) -> None:
    """Give back what a member that is to go held, as soon as its own node has nothing of it any more."""
    for instance in draft.looked_at():
        placement = instance.placement
        if instance.gang is None or instance.stop_time is None or placement is None:
            continue
        left = tuple(
            member
            for member in placement.members
            if member.node in draft.nodes and instance.uid not in draft.world.gone_on.get(member.node, ())
        )
        if left and len(left) < len(placement.members):
            draft.put(replace(instance, placement=replace(placement, members=left)))


def _settle(draft: Draft, instance: Instance, gang: Gang) -> None:
    if _S.ERROR in {member.state for member in gang.members}:
        _fail(draft, instance, gang)
    elif gang.reserving:
        _release(draft, instance, gang)
    elif instance.state is _S.RUNNING and instance.restart_count:
        _forget_restarts(draft, instance, gang)


def _fail(draft: Draft, instance: Instance, gang: Gang) -> None:
    """Have all begin again, at once if some may run; where all only reserved, not before it is time to try again."""
    reserving = all(member.told is GangPhase.RESERVE for member in gang.members)
    if reserving and (gang.halted or (gang.retry_time is not None and gang.retry_time > draft.now)):
        draft.put(instance)
        if not gang.halted and gang.retry_time is not None:
            draft.wake(gang.retry_time)
        return
    _begin_again(draft, instance, gang)


def _begin_again(draft: Draft, instance: Instance, gang: Gang) -> None:
    """Have every member stopped, by a generation that begins with reserving, and started again after a while."""
    placement, assignment = instance.placement, instance.assignment
    if placement is None or assignment is None:
        return
    restarts = instance.restart_count
    delay = delay_seconds(restarts)
    halted = not assignment.restart_on_error
    again = "" if halted else f", trying again in {delay:g} s" if delay else ", trying again"
    why = f"; all members are stopped{again}"
    draft.put(
        replace(
            moved(instance, _S.ERROR, (instance.state_message + why), draft.now),
            generation=instance.generation + 1,
            restart_count=restarts + (not halted),
            next_try_time=None if halted else draft.now + timedelta(seconds=delay),
            endpoint="",
            pid=0,
            pid_start_ticks=0,
            start_time=None,
            adopted=False,
            assignment=replace(assignment, gang=gang_members(placement, draft.nodes)),
            gang=replace(
                gang,
                members=tuple(_fresh(placement)),
                retry_time=draft.now + timedelta(seconds=delay),
                halted=halted,
                running_time=None,
            ),
        )
    )
    draft.event(Severity.WARNING, "GANG_STOPPED", instance.name, f"{instance.name}: {instance.state_message}{why}.")


def _compared(gang: Gang, now: datetime) -> Gang:
    """Return the gang with the first member failed whose version of what has to be alike is not the leader's."""
    leader = gang.members[0]
    odd = next((each for each in gang.members if gang.reserving and _differences(leader, each)), None)
    if odd is None or odd.state is _S.ERROR:
        return gang
    names = _differences(leader, odd)
    has, leads = (" and ".join(f"{name} {each.parts[name]}" for name in names) for each in (odd, leader))
    message = f"it has {has}, and {member_name(leader)} has {leads}; install the same on all of its nodes"
    failure = Failure(time=now, reason="MEMBERS_DIFFER", message=message)
    failed = replace(odd, state=_S.ERROR, message=message, failure=failure)
    return replace(gang, members=tuple(failed if member is odd else member for member in gang.members))


def _differences(leader: MemberRun, member: MemberRun) -> tuple[str, ...]:
    """Return what has to be alike and is not; what one of the two does not tell cannot be compared."""
    names = leader.parts.keys() & member.parts.keys()
    return tuple(sorted(name for name in names if leader.parts[name] != member.parts[name]))


def _forget_restarts(draft: Draft, instance: Instance, gang: Gang) -> None:
    """Forget what came before, once all have run well for a while."""
    well_at = (gang.running_time or draft.now) + timedelta(seconds=WELL_SECONDS)
    if well_at > draft.now:
        draft.wake(well_at)
        return
    draft.put(replace(instance, restart_count=0, first_failure=None))


def _release(draft: Draft, instance: Instance, gang: Gang) -> None:
    """Tell those to run whose turn it is, once all have reserved."""
    if gang.halted or not all(member.ports for member in gang.members):
        return
    if gang.retry_time is not None and gang.retry_time > draft.now:
        draft.wake(gang.retry_time)
        return
    turn = _turn(gang)
    members = tuple(replace(member, told=GangPhase.RUN) if member.rank in turn else member for member in gang.members)
    if members == gang.members:
        return
    released = replace(instance, gang=replace(gang, members=members))
    if all(member.state is _S.RUNNING for member in members):
        # A store that was restored is told that they run before it has told them to.
        draft.put(replace(released, next_try_time=None))
        return
    starting = moved(released, _S.STARTING, "all members have reserved; starting", draft.now)
    draft.put(replace(starting, next_try_time=None))


def delay_seconds(restarts: int) -> float:
    """Return how long to wait before the restart after ``restarts`` others: not, 10 s, doubling, at most 300 s."""
    first, most = DELAY_SECONDS
    return min(first * 2 ** min(restarts - 1, 10), most) if restarts else 0.0


def _turn(gang: Gang) -> frozenset[int]:
    """Return the ranks that may run now: all, or those that come first until they live, or followers are ready."""
    ranks = frozenset(member.rank for member in gang.members)
    if gang.order is StartOrder.TOGETHER:
        return ranks
    leader, *followers = gang.members
    if gang.order is StartOrder.LEADER_FIRST:
        return ranks if leader.start_time is not None else frozenset({leader.rank})
    ready = all(member.state is _S.RUNNING for member in followers)
    return ranks if ready else ranks - {leader.rank}


def _combined(instance: Instance, gang: Gang) -> tuple[InstanceState, str]:
    for state in (_S.UNREACHABLE, _S.QUARANTINED, _S.ERROR, _S.STOPPING):
        found = next((member for member in gang.members if member.state is state), None)
        if found is not None:
            return state, f"{member_name(found)}: {found.message}"
    states = {member.state for member in gang.members}
    if states == {_S.RUNNING}:
        return _S.RUNNING, next((f"{member_name(m)}: {m.message}" for m in gang.members if m.message), "")
    if instance.state is _S.ERROR and gang.reserving:
        return _S.ERROR, instance.state_message  # until all are told to run again
    if _S.DOWNLOADING in states:
        busy = next(member for member in gang.members if member.state is _S.DOWNLOADING)
        return _S.DOWNLOADING, f"{member_name(busy)}: {busy.message}"
    if gang.reserving and instance.state is _S.SCHEDULED:
        return _S.SCHEDULED, instance.state_message
    waited = next((m for m in gang.members if m.state is not _S.RUNNING), gang.members[0])
    return _S.STARTING, f"{member_name(waited)}: {waited.message}"


def member_name(member: MemberRun) -> str:
    """Return how a member is named to people."""
    return f"{member.node} (rank {member.rank})"


def _failures(gang: Gang) -> Iterator[Failure]:
    for member in gang.members:
        if member.failure is not None:
            yield replace(member.failure, message=f"{member_name(member)}: {member.failure.message}")


def _fresh(placement: Placement) -> Iterator[MemberRun]:
    for member in placement.members:
        yield MemberRun(node=member.node, rank=member.rank)


def _described(member: Member, node: Node) -> GangMember:
    there = {device.device_id: device for device in node.devices}
    devices = [there.get(claim.device_id) for claim in member.claim.devices]
    return GangMember(
        rank=member.rank,
        node=member.node,
        address=node.address,
        devices=tuple(
            GangDevice(device_id=claim.device_id)
            if device is None
            else GangDevice(device_id=device.device_id, index=device.index, address=device.network_address)
            for claim, device in zip(member.claim.devices, devices, strict=True)
        ),
    )
