import json
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from motorpool import v1
from tests.cli.controller import Controller, DroppedError, GapError
from tests.cli.fleet import NOON, fill
from tests.cli.motorpool import Motorpool, rows


def test_events(controller: Controller, motorpool: Motorpool) -> None:
    """
    Events come with the latest last, in the reader's time.
    """
    fill(controller)

    table = rows(motorpool("events").stdout)

    assert ["TIME", "SEVERITY", "SUBJECT", "REASON", "COUNT", "MESSAGE"] == table[0]
    assert ["DEPLOYMENT_CREATED", "NODE_UNREACHABLE"] == [row[3] for row in table[1:]]
    assert ["2025-10-09 08:53:20", "WARNING", "nodes/rack1"] == table[2][:3]


@pytest.mark.parametrize("subject", ["smollm2", "deployments/smollm2"])
def test_events_of_one_thing(controller: Controller, motorpool: Motorpool, subject: str) -> None:
    """
    A bare name is a deployment's; --limit arrives.
    """
    fill(controller)

    events = json.loads(motorpool("events", subject, "--limit", "7", "-o", "json").stdout)["events"]

    (request,) = (each for each in controller.requests if isinstance(each, v1.ListEventsRequest))
    assert ["events/1"] == [event["name"] for event in events]
    assert ("deployments/smollm2", 7) == (request.subject, request.page_size)


def event(number: int, *, seconds: int = 0, subject: str = "deployments/smollm2") -> v1.Event:
    """An event of so many seconds after noon."""
    return v1.Event(
        name=f"events/{number}",
        time=Timestamp(seconds=NOON.seconds + seconds),
        severity=v1.SEVERITY_INFO,
        reason="INSTANCE_PLACED",
        subject=subject,
        message=f"number {number}",
        count=1,
    )


def followed(controller: Controller, motorpool: Motorpool, *words: str) -> list[dict[str, Any]]:
    """What `events --follow` prints until the controller ends its script."""
    controller.script.append(controller.end)
    done = motorpool("events", "--follow", "-o", "json", *words)
    assert "enough" in done.stderr, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_events_since(controller: Controller, motorpool: Motorpool) -> None:
    """
    --since shows all from a time on, over as many pages as it takes, and asks for none behind the first older one.
    """
    controller.events = [event(number, seconds=number) for number in range(9, -1, -1)]
    controller.page_size = 2

    shown = json.loads(motorpool("events", "--since", "2025-10-09T08:53:24Z", "-o", "json").stdout)["events"]

    asked = [each for each in controller.requests if isinstance(each, v1.ListEventsRequest)]
    assert [f"events/{number}" for number in range(4, 10)] == [each["name"] for each in shown]
    assert ["", "2", "4", "6"] == [each.page_token for each in asked]


def test_since_is_a_time_or_a_length(motorpool: Motorpool) -> None:
    """
    Anything else is refused with what may stand there.
    """
    done = motorpool("events", "--since", "yesterday")

    assert 2 == done.exit_code
    assert "--since yesterday is neither a length of time nor a time; write e.g. 90s" in done.stderr


def test_filters_arrive(controller: Controller, motorpool: Motorpool) -> None:
    """
    --deployment and --node may stand together, in the list and in what is followed.
    """
    fill(controller)

    followed(controller, motorpool, "--deployment", "smollm2", "--node", "rack1")

    (listed,) = (each for each in controller.requests if isinstance(each, v1.ListEventsRequest))
    assert ("deployments/smollm2", "nodes/rack1") == (listed.subject, listed.node)
    assert ("deployments/smollm2", "nodes/rack1") == (controller.watched[0].deployment, controller.watched[0].node)


@pytest.mark.parametrize("follow", [(), ("--follow",)], ids=["once", "followed"])
@pytest.mark.parametrize(
    "words",
    [
        ("--node", "nope"),
        ("nodes/nope",),
        ("--deployment", "nope"),
        ("nope",),
        ("instances/nope-1",),
        ("backends/nope",),
        ("--deployment", "smollm2", "--node", "nope", "--since", "1s"),
    ],
    ids=" ".join,
)
def test_what_never_was_is_no_such_thing(
    controller: Controller, motorpool: Motorpool, words: tuple[str, ...], follow: tuple[str, ...]
) -> None:
    """
    A name that nothing has and that no event is about is an error, not a quiet past; nothing is followed.
    """
    fill(controller)

    done = motorpool("events", *words, *follow)

    assert (5, "") == (done.exit_code, done.stdout)
    assert "nope" in done.stderr
    assert "NOT_FOUND" in done.stderr
    assert not controller.watched


def test_what_is_gone_has_a_past(controller: Controller, motorpool: Motorpool) -> None:
    """
    What was deleted is known while there are events of it, also where none is as late as asked for.
    """
    controller.events = [event(1, subject="nodes/gone")]

    shown = json.loads(motorpool("events", "nodes/gone", "-o", "json").stdout)["events"]
    later = motorpool("events", "nodes/gone", "--since", "2025-10-09T09:00:00Z")

    assert ["events/1"] == [each["name"] for each in shown]
    assert (0, "Nothing has happened since then.\n") == (later.exit_code, later.stdout + later.stderr)


def test_what_is_there_may_have_no_past(controller: Controller, motorpool: Motorpool) -> None:
    """
    A node of which nothing is known yet is no error.
    """
    fill(controller)
    controller.events = []

    done = motorpool("events", "--node", "rack1")

    assert (0, "Nothing has happened yet.\n") == (done.exit_code, done.stdout + done.stderr)


def test_what_events_are_never_about_is_refused(controller: Controller, motorpool: Motorpool) -> None:
    """
    A kind of thing that has no events is said to be none, with those that have.
    """
    done = motorpool("events", "tokens/t1")

    assert 2 == done.exit_code
    assert "deployments/NAME, instances/NAME, nodes/NAME, backends/NAME" in done.stderr
    assert [] == controller.requests


def test_two_subjects_are_refused(motorpool: Motorpool) -> None:
    """
    A subject and --deployment both say what the events are about.
    """
    done = motorpool("events", "nodes/rack1", "--deployment", "smollm2")

    assert 2 == done.exit_code
    assert "give one of them" in done.stderr


def test_followed_events_are_one_object_a_line(controller: Controller, motorpool: Motorpool) -> None:
    """
    In JSON those of the past are lines, too; an event that happens again comes again, and nothing else does.
    """
    controller.events = [event(1)]
    again = event(1, seconds=1)
    again.count = 2
    controller.script = [lambda: controller.put(event(1)), lambda: controller.put(again)]

    lines = followed(controller, motorpool)

    assert [("events/1", 1), ("events/1", 2)] == [(each["name"], each["count"]) for each in lines]


def test_followed_events_go_on_where_the_stream_broke(controller: Controller, motorpool: Motorpool) -> None:
    """
    After a broken stream the watch goes on behind the last event that came.
    """

    def drop() -> None:
        raise DroppedError

    controller.script = [lambda: controller.put(event(1)), drop, lambda: controller.put(event(2))]

    lines = followed(controller, motorpool)

    assert ["events/1", "events/2"] == [each["name"] for each in lines]
    assert ["0", "1"] == [each.resume_token or "0" for each in controller.watched]


def test_a_gap_of_the_history_loses_no_event(controller: Controller, motorpool: Motorpool) -> None:
    """
    Where the changes meanwhile are not kept, all events since the last one are listed, however many; none is "gone".
    """
    controller.events = [event(0)]

    def gap() -> None:
        controller.events[:0] = [event(number, seconds=number) for number in range(99, 0, -1)]
        raise GapError

    controller.script = [gap]

    lines = followed(controller, motorpool, "--limit", "1")

    assert [f"events/{number}" for number in range(100)] == [each["name"] for each in lines]


def test_followed_table_goes_on_under_its_head(controller: Controller, motorpool: Motorpool) -> None:
    """
    A table has one head, those of the past first.
    """
    controller.events = [event(1)]
    controller.script = [lambda: controller.put(event(2, seconds=1)), controller.end]

    table = rows(motorpool("events", "-f").stdout)

    assert ["MESSAGE", "number 1", "number 2"] == [row[-1] for row in table]
