from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import code_pb2

from motorpool import v1
from tests.cli.controller import Controller
from tests.cli.fleet import fill, instance, pair
from tests.cli.motorpool import Motorpool

EVENING = int(datetime(2026, 11, 21, 18, tzinfo=UTC).timestamp())


@pytest.fixture(autouse=True)
def _log(controller: Controller) -> None:
    fill(controller)
    controller.logs["instances/smollm2-x7k2p"] = ["first", "\x1b[32mgreen\x1b[0m", "last"]


@pytest.mark.parametrize("name", ["smollm2-x7k2p", "instances/smollm2-x7k2p", "smollm2", "deployments/smollm2"])
def test_logs(motorpool: Motorpool, name: str) -> None:
    """
    An instance's log comes by its name, or by that of a deployment that has only one.
    """
    result = motorpool("logs", name)

    assert (0, ["first", "\x1b[32mgreen\x1b[0m", "last"]) == (result.exit_code, result.stdout.splitlines())


def test_options(controller: Controller, motorpool: Motorpool) -> None:
    """
    --tail and --previous arrive.
    """
    motorpool("logs", "smollm2", "--tail", "-1", "--previous")

    (request,) = (each for each in controller.requests if isinstance(each, v1.StreamInstanceLogsRequest))
    assert (-1, True, False) == (request.tail_lines, request.previous, request.follow)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), {"tail_lines": 100}),
        (("--attempt", "3"), {"tail_lines": 100, "attempt": 3}),
        (("--attempt", "-2", "-t"), {"tail_lines": 100, "attempt": -2, "timestamps": True}),
        (("--since", "10m"), {"tail_lines": -1, "since_age": Duration(seconds=600)}),
        (("--since", "10m", "--tail", "5"), {"tail_lines": 5, "since_age": Duration(seconds=600)}),
        (
            ("--since", "2026-11-21T20:00:00+02:00"),
            {
                "tail_lines": -1,
                "since_time": Timestamp(seconds=EVENING),
            },
        ),
    ],
)
def test_which_lines(
    controller: Controller, motorpool: Motorpool, options: tuple[str, ...], expected: dict[str, Any]
) -> None:
    """
    Attempt, times and number of lines arrive; --since gives all that there is since, unless --tail says how many.
    """
    assert 0 == motorpool("logs", "smollm2-x7k2p", *options).exit_code

    (request,) = (each for each in controller.requests if isinstance(each, v1.StreamInstanceLogsRequest))
    assert v1.StreamInstanceLogsRequest(name="instances/smollm2-x7k2p", **expected) == request


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--since", "yesterday"), "--since yesterday is neither a length of time nor a time; write e.g."),
        (("--attempt", "3", "--previous"), "--previous and --attempt both name an attempt"),
    ],
)
def test_options_that_cannot_be_meant(motorpool: Motorpool, options: tuple[str, ...], words: str) -> None:
    """
    What cannot be meant is told, and nothing is asked.
    """
    result = motorpool("logs", "smollm2-x7k2p", *options)

    assert 2 == result.exit_code
    assert words in result.stderr


def test_who_follows_goes_on_where_the_stream_broke(controller: Controller, motorpool: Motorpool) -> None:
    """
    A stream that breaks is opened again behind its last line: nothing is lost, nothing comes twice; it is not
    told while each try brings something.
    """
    controller.broken_streams = 2

    result = motorpool("logs", "smollm2-x7k2p", "--follow")

    assert (0, ["first", "\x1b[32mgreen\x1b[0m", "last"]) == (result.exit_code, result.stdout.splitlines())
    assert "the stream broke" not in result.stderr
    requests = [each for each in controller.requests if isinstance(each, v1.StreamInstanceLogsRequest)]
    assert ["", "1", "2"] == [each.position for each in requests]


def test_who_does_not_follow_is_told_of_a_break(controller: Controller, motorpool: Motorpool) -> None:
    """
    A log that is read once and breaks off is an error.
    """
    controller.broken_streams = 1

    assert 0 != motorpool("logs", "smollm2-x7k2p").exit_code


def test_several_instances(controller: Controller, motorpool: Motorpool) -> None:
    """
    A deployment with several instances asks which one is meant.
    """
    controller.put(instance(name="smollm2-second"))

    result = motorpool("logs", "smollm2")

    assert 2 == result.exit_code
    assert "name one of smollm2-x7k2p, smollm2-second." in result.stderr


def test_nothing_of_that_name(motorpool: Motorpool) -> None:
    """
    A name that nothing has is exit code 5.
    """
    result = motorpool("logs", "nobody")

    assert 5 == result.exit_code
    assert "`motorpool ps` lists them" in result.stderr


def test_a_node_out_of_reach(controller: Controller, motorpool: Motorpool) -> None:
    """
    A node out of reach is no controller out of reach: exit code 1.
    """
    controller.refusal = (code_pb2.UNAVAILABLE, "NODE_UNREACHABLE", "nodes/rack1 has no session now.")

    result = motorpool("logs", "instances/smollm2-x7k2p")

    assert 1 == result.exit_code
    assert "error: nodes/rack1 has no session now. [NODE_UNREACHABLE]\n" == result.stderr


@pytest.mark.parametrize(("option", "rank"), [((), 0), (("--rank", "1"), 1), (("--node", "rack2"), 1)])
def test_a_members_log(controller: Controller, motorpool: Motorpool, option: tuple[str, ...], rank: int) -> None:
    """
    Over several nodes each member has a log: the leader's, or that of a rank or node.
    """
    controller.put(pair())
    controller.logs["instances/smollm2-pair1"] = ["said"]

    assert 0 == motorpool("logs", "smollm2-pair1", *option).exit_code

    (request,) = (each for each in controller.requests if isinstance(each, v1.StreamInstanceLogsRequest))
    assert rank == request.rank


@pytest.mark.parametrize(
    ("options", "exit_code", "words"),
    [
        (("--node", "rack9"), 5, "has no part on rack9"),
        (("--node", "rack2", "--rank", "1"), 2, "give one of them"),
    ],
)
def test_a_member_that_is_none(
    controller: Controller, motorpool: Motorpool, options: tuple[str, ...], exit_code: int, words: str
) -> None:
    """
    A node without a part is told with those that have one; two ways to name a member are one too many.
    """
    controller.put(pair())

    result = motorpool("logs", "smollm2-pair1", *options)

    assert exit_code == result.exit_code
    assert words in result.stderr
