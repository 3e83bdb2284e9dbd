from dataclasses import replace
from datetime import UTC, datetime, timedelta

from motorpool_controller.domain.fleet import DeviceUsage, InstanceUsage, NodeUsage
from motorpool_controller.reconcile.desired import DesiredOfNode, Tombstone
from motorpool_controller.scheduling.snapshot import Reading
from motorpool_controller.store.bell import Bell
from motorpool_controller.store.live import Live
from motorpool_controller.store.taps import LogRequest

NOW = datetime(2026, 11, 21, tzinfo=UTC)
GIB = 1 << 30


class Seconds:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def connected(live: Live, node: str = "nodes/a", epoch: int = 1) -> Bell:
    wake = Bell()
    live.connect(node, session_epoch=epoch, lease_seconds=40, wake=wake, now=NOW)
    live.changed.clear()
    return wake


def measured(available: int, *, device_used: int = 0) -> NodeUsage:
    return NodeUsage(
        measure_time=NOW,
        memory_available_bytes=available,
        devices=(DeviceUsage(device_id="GPU-1", used_bytes=device_used),),
    )


async def test_lease_runs_from_the_last_heartbeat() -> None:
    """
    A node's lease ends so long after its last heartbeat, whatever happens to its session.
    """
    clock = Seconds()
    live = Live(clock)
    connected(live)
    clock.now += 10
    live.heartbeat("nodes/a", None, NOW)
    live.disconnect("nodes/a", 1)
    clock.now += 5

    ends = live.lease_end(["nodes/a"], lease_seconds=7, now=NOW)

    assert {"nodes/a": NOW + timedelta(seconds=35)} == ends


async def test_unheard_node_has_a_lease_from_the_start() -> None:
    """
    A node not heard of yet has a lease from the start of the controller.
    """
    clock = Seconds()
    live = Live(clock)
    clock.now += 3

    assert {"nodes/a": NOW + timedelta(seconds=37)} == live.lease_end(["nodes/a"], lease_seconds=40, now=NOW)


async def test_end_of_a_replaced_session_changes_nothing() -> None:
    """
    When a session that was replaced ends at last, its successor stays connected.
    """
    live = Live()
    connected(live, epoch=1)
    connected(live, epoch=2)

    live.disconnect("nodes/a", 1)

    assert frozenset({"nodes/a"}) == live.connected()


async def test_small_changes_of_memory_decide_nothing() -> None:
    """
    A measurement wakes the loop, and is decided by, when it differs notably from the one before that did.
    """
    live = Live()
    connected(live)
    live.heartbeat("nodes/a", measured(100 * GIB), NOW)
    assert live.changed.is_set()
    live.changed.clear()

    live.heartbeat("nodes/a", measured(98 * GIB), NOW)
    assert not live.changed.is_set()
    assert measured(98 * GIB) == live.usage("nodes/a")
    assert 100 * GIB == live.settled_usage["nodes/a"].memory_available_bytes

    live.heartbeat("nodes/a", measured(94 * GIB), NOW)
    assert live.changed.is_set()
    assert 94 * GIB == live.settled_usage["nodes/a"].memory_available_bytes


async def test_nothing_but_memory_is_decided_by() -> None:
    """
    What is kept to decide by is how much memory is in use, and how much of that is ours; all else is of the moment.
    """
    device = DeviceUsage(device_id="GPU-1", used_bytes=GIB, own_bytes=0, power_watts=300.0, remains="400 MiB")
    usage = NodeUsage(
        measure_time=NOW,
        memory_used_bytes=3 * GIB,
        memory_available_bytes=5 * GIB,
        memory_own_bytes=GIB,
        cpu_ratio=0.5,
        devices=(device,),
        instances=(InstanceUsage(instance="instances/a"),),
    )
    live = Live()
    live.heartbeat("nodes/a", usage, NOW)

    assert usage == live.usage("nodes/a")
    kept = replace(device, power_watts=None, remains="")
    assert replace(usage, cpu_ratio=None, devices=(kept,), instances=()) == live.settled_usage["nodes/a"]


async def test_memory_of_a_device_is_noticed() -> None:
    """
    A notable change on one device is decided by.
    """
    live = Live()
    connected(live)
    live.heartbeat("nodes/a", measured(GIB), NOW)
    live.changed.clear()

    live.heartbeat("nodes/a", measured(GIB, device_used=GIB), NOW)

    assert live.changed.is_set()


async def test_heartbeat_after_the_lease_is_noticed() -> None:
    """
    A heartbeat of a node whose lease is over has the loop look again.
    """
    clock = Seconds()
    live = Live(clock)
    connected(live)
    clock.now += 41

    live.heartbeat("nodes/a", None, NOW)

    assert live.changed.is_set()


async def test_nothing_is_told_before_it_was_decided() -> None:
    """
    A node whose desired state was not decided yet is told nothing, not even that there is nothing.
    """
    live = Live()
    wake = connected(live)
    assert None is live.wanted("nodes/a")

    live.want("nodes/a", DesiredOfNode())

    assert wake.is_set()
    assert None is not live.wanted("nodes/a")


async def test_equal_wishes_wake_nobody() -> None:
    """
    A session is woken by what is new only.
    """
    live = Live()
    wake = connected(live)
    desired = DesiredOfNode(tombstones=(Tombstone(assignment_id="x", generation=1),))
    live.want("nodes/a", desired)
    wake.clear()

    live.want("nodes/a", DesiredOfNode(tombstones=(Tombstone(assignment_id="x", generation=1),)))

    assert not wake.is_set()


async def test_questions_are_told_until_answered() -> None:
    """
    A question stands among what a node is told until its answer came, which wakes the loop.
    """
    live = Live()
    connected(live)
    live.want("nodes/a", DesiredOfNode())
    live.ask([("nodes/a", "/m")], NOW)
    wanted = live.wanted("nodes/a")
    assert wanted is not None
    (question,) = wanted.questions

    live.answer("nodes/b", question.query_id, Reading(error_reason="FORGED"), NOW)
    assert not live.readings
    live.answer("nodes/a", question.query_id, Reading(error_reason="MODEL_NOT_FOUND"), NOW)

    assert "MODEL_NOT_FOUND" == live.readings["nodes/a", "/m"].error_reason
    assert live.changed.is_set()
    after = live.wanted("nodes/a")
    assert after is not None
    assert () == after.questions


async def test_log_requests_are_told_until_the_reader_leaves() -> None:
    """
    A subscription stands among what its node is told while somebody reads it.
    """
    live = Live()
    wake = connected(live)
    live.want("nodes/a", DesiredOfNode())
    wake.clear()

    request = LogRequest(subscription_id="s", assignment_id="x", tail_lines=1, follow=True, timeout_seconds=1)
    tap = live.tap("nodes/a", request)
    wanted = live.wanted("nodes/a")
    assert wake.is_set()
    assert wanted is not None
    assert (tap.request,) == wanted.logs
    live.untap(tap)

    assert None is live.find_tap(tap.request.subscription_id)
    assert 0 == live.tap_count


async def test_deleted_node_is_woken_and_forgotten() -> None:
    """
    Forgetting a node wakes its session and drops what was known of it.
    """
    live = Live()
    wake = connected(live)
    live.heartbeat("nodes/a", measured(GIB), NOW)
    live.ask([("nodes/a", "/m")], NOW)

    live.forget("nodes/a")

    assert wake.is_set()
    assert not live.settled_usage
    assert None is live.usage("nodes/a")
    assert frozenset() == live.connected()


async def test_a_longer_lease_is_a_longer_silence() -> None:
    """
    Whose heartbeats are to come less often is not suspect for it; who has changed nothing is not looked at again.
    """
    clock = Seconds()
    live = Live(clock)
    connected(live, "nodes/a")
    live.set_lease("nodes/a", 1, 200.0)
    clock.now += 90
    assert frozenset() == live.suspects(["nodes/a"])
    assert live.suspects(["nodes/a"]) is live.suspects(["nodes/a"])
    clock.now += 20
    assert {"nodes/a"} == live.suspects(["nodes/a"])
    assert {"nodes/a", "nodes/new"} == live.suspects(["nodes/a", "nodes/new"])


async def test_who_is_suspect() -> None:
    """
    Suspect is who was not heard of since the start, has no session, or missed half a lease; the next heartbeat wakes.
    """
    clock = Seconds()
    live = Live(clock)
    connected(live, "nodes/a")
    connected(live, "nodes/b")
    live.disconnect("nodes/b", 1)
    everyone = ["nodes/a", "nodes/b", "nodes/c"]
    assert {"nodes/b", "nodes/c"} == live.suspects(everyone)
    assert ["", True, True] == [live.suspicion(name) and bool(live.suspicion(name)) for name in everyone]

    clock.now += 21
    live.changed.clear()
    assert {*everyone} == live.suspects(everyone)
    assert "Its last heartbeat was 21 s ago; it counts as lost after 40 s." == live.suspicion("nodes/a")
    live.heartbeat("nodes/a", None, NOW)

    assert live.changed.is_set()
    assert "nodes/a" not in live.suspects(everyone)
