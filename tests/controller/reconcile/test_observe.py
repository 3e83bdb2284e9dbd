from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from motorpool_controller.domain.attempts import Failure
from motorpool_controller.domain.fleet import NodeState
from motorpool_controller.domain.workload import Exposure, Instance, InstanceState, RenderedLaunch
from motorpool_controller.reconcile.observe import happened, observe
from motorpool_controller.reconcile.world import Report
from tests.controller.fleets import NOW, node, placed

S = InstanceState
LAUNCH = RenderedLaunch(executor="process", argv=("llama-server",), ports={"http": 40000})


def scheduled(**changes: Any) -> Instance:
    return placed(state=S.SCHEDULED, **changes)


def report(state: InstanceState = S.RUNNING, **changes: Any) -> Report:
    return replace(
        Report(assignment_id="uid-chat-1", generation=1, state=state, launch=LAUNCH, pid=7, pid_start_ticks=9),
        **changes,
    )


def test_a_running_instance_has_its_endpoint() -> None:
    """
    Node address and the agent's port make the endpoint; the pid is what the host shows.
    """
    seen = observe(scheduled(), report(), node(), NOW)

    assert (seen.state, seen.endpoint, seen.pid, seen.state_time) == (S.RUNNING, "http://a.example:40000", 7, NOW)


def test_local_exposure_and_ipv6_are_written_as_they_must() -> None:
    """
    A local instance is reached at the loopback; an IPv6 address stands in brackets.
    """
    instance = scheduled()
    assert instance.assignment is not None
    local = replace(instance, assignment=replace(instance.assignment, exposure=Exposure.LOCAL))

    assert observe(local, report(), node(), NOW).endpoint == "http://127.0.0.1:40000"
    assert observe(instance, report(), node(address="fd00::1"), NOW).endpoint == "http://[fd00::1]:40000"


@pytest.mark.promise("P7")
@pytest.mark.parametrize("state", [S.DOWNLOADING, S.STARTING, S.RUNNING, S.ERROR, S.QUARANTINED])
def test_the_same_report_again_changes_nothing(state: InstanceState) -> None:
    """
    A report taken in twice gives the very same record.
    """
    once = observe(scheduled(), report(state), node(), NOW)

    assert observe(once, report(state), node(), NOW.replace(hour=13)) is once


@pytest.mark.parametrize(
    ("said", "of"),
    [
        (report(generation=2), node()),
        (report(assignment_id="other"), node()),
        (report(generation=0), node()),
        (report(), node(state=NodeState.UNREACHABLE)),
    ],
    ids=["another generation", "another assignment", "unknown generation", "a lost node"],
)
def test_reports_that_do_not_count_change_nothing(said: Report, of: Any) -> None:
    """
    Only the node's own word about this very assignment is taken.
    """
    instance = scheduled()

    assert observe(instance, said, of, NOW) is instance


def test_a_find_that_is_not_ours_for_certain_is_quarantined() -> None:
    """
    Without a generation the agent may say that something is there; it keeps its claim.
    """
    seen = observe(scheduled(), report(S.QUARANTINED, generation=0), node(), NOW)

    assert (seen.state, seen.endpoint) == (S.QUARANTINED, "")
    assert seen.placement is not None


def test_an_instance_told_to_stop_never_runs_again() -> None:
    """
    Whatever its node still reports, it is stopping; its failures are still recorded.
    """
    failure = Failure(time=NOW, reason="EXITED", message="it ended.")
    stopping = placed(state=S.STOPPING, stop_time=NOW, state_message="deleted")
    seen = observe(stopping, report(S.RUNNING, last_failure=failure, message="serving"), node(), NOW)

    assert (seen.state, seen.state_message, seen.endpoint) == (S.STOPPING, "deleted", "")
    assert seen.last_failure == failure


def test_an_unreachable_instance_resumes_what_its_node_reports() -> None:
    """
    The node is back, the instance never stopped: it runs.
    """
    assert observe(placed(state=S.UNREACHABLE), report(), node(), NOW).state is S.RUNNING


def test_what_people_want_to_hear_is_an_event() -> None:
    """
    Running, failing and quarantine are told once; other steps are not.
    """
    before = scheduled()
    failure = Failure(time=NOW, reason="EXITED", message="exit status 1; see its log.")
    ran = happened(before, observe(before, report(), node(), NOW))
    failed = happened(before, observe(before, report(S.ERROR, last_failure=failure), node(), NOW))

    assert ran is not None
    assert "http://a.example:40000" in ran.message
    assert failed is not None
    assert (failed.reason, failure.message in failed.message) == ("INSTANCE_FAILED", True)
    assert happened(before, observe(before, report(S.STARTING), node(), NOW)) is None
    assert happened(before, before) is None
