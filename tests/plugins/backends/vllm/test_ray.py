"""vLLM by Ray: what is refused, which ports it listens on, and what keeps clusters apart."""

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from motorpool_sdk import Parameter, Severity
from motorpool_sdk.gang import HTTP
from motorpool_vllm.plugin import Vllm
from motorpool_vllm.ray import RAY, WORKERS
from tests.plugins.backends.vllm.requests import BY_RAY, RAY_PARTS, ray_member

CUDA, CONTAINER = BY_RAY["ray-cuda"], BY_RAY["ray-container"]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_member_without_ray_is_refused(rank: int) -> None:
    """
    A node whose vLLM has no Ray says so while it reserves, and how to get it; an image's parts are not known.
    """
    found = Vllm().check(ray_member(CUDA, rank, parts={"python": "3.12.11"}))

    assert [(Severity.ERROR, "RAY_MISSING")] == [(each.severity, each.reason) for each in found]
    assert "beside /opt/vllm/bin/vllm" in found[0].message
    assert "pip install ray" in found[0].message
    assert () == Vllm().check(ray_member(CUDA, rank))
    assert () == Vllm().check(ray_member(CONTAINER, rank, parts={}))


def test_python_and_ray_have_to_be_the_same_on_all_members() -> None:
    """
    Both are what Ray itself compares before it lets a node join.
    """
    assert set(RAY.alike) == set(RAY_PARTS)


@pytest.mark.parametrize("rank", [0, 1])
def test_every_port_is_a_reserved_one(rank: int) -> None:
    """
    What a member is told to listen on is what it reserved, each once, and what it reserved is told.
    """
    request = ray_member(BY_RAY["ray-data-parallel"], rank)
    assert request.gang is not None
    launch = Vllm().launch(request)
    own = launch.argv[launch.argv.index("--") + 1 :]
    told = [int(value) for option, value in pairwise(own) if re.fullmatch(r"--[a-z-]*port", option)]
    told += [int(value) for value in [launch.env.get("DASHBOARD_METRIC_PORT")] if value]
    ports = request.gang.own.ports

    assert {HTTP, *(each.name for each in RAY.ports(rank))} == set(ports)
    follower = {ports[HTTP]} if rank else set()
    assert sorted({*ports.values(), ports["worker"] + WORKERS - 1} - follower) == sorted(told)


def test_members_meet_at_the_leaders_port() -> None:
    """
    A follower joins where the leader's control store listens, IPv6 or not.
    """
    request = ray_member(CUDA, 1)
    assert request.gang is not None
    leader, follower = request.gang.members
    six = replace(request.gang, members=(replace(leader, address="fd00::1"), replace(follower, address="fd00::2")))

    for given, head in ((request, "10.7.0.1:24001"), (replace(request, gang=six), "[fd00::1]:24001")):
        argv = Vllm().launch(given).argv
        told = (argv[argv.index("--head") + 1], argv[argv.index("--address", argv.index("start")) + 1])
        assert (head, head) == told


def test_instances_keep_apart() -> None:
    """
    Two instances of a node have folders of their own, short enough for sockets, and the same one at each start; their
    members' token is the deployment's, and is not its API key.
    """
    folders, tokens = [], []
    for place, key in (("/a/b", "one"), ("/a/b", "one"), ("/a/c", "two")):
        launch = Vllm().launch(ray_member(replace(CUDA, files_dir=Path(place), api_key=key), 0))
        folders.append(launch.argv[launch.argv.index("--folder") + 1])
        tokens.append(launch.secrets["RAY_AUTH_TOKEN"])

    assert folders[0] == folders[1] != folders[2]
    assert max(map(len, folders)) < 30
    assert tokens[0] == tokens[1] != tokens[2]
    assert {"one", "two"}.isdisjoint(tokens)


def test_members_have_one_token() -> None:
    """
    Leader and follower speak to each other with the same one.
    """
    assert 1 == len({Vllm().launch(ray_member(CUDA, rank)).secrets["RAY_AUTH_TOKEN"] for rank in (0, 1)})


def test_the_users_executor_is_said_once() -> None:
    """
    Where the user said ray it is said with their word, and else by the launch.
    """
    said = Vllm().launch(ray_member(CUDA, 0)).argv
    unsaid = Vllm().launch(ray_member(replace(CUDA, parameters=()), 0)).argv

    for argv in (said, unsaid):
        assert 1 == argv.count("--distributed-executor-backend")
        assert "ray" == argv[argv.index("--distributed-executor-backend") + 1]


def test_the_number_of_nodes_is_not_vllms_to_know() -> None:
    """
    ``--nnodes`` is a wish of the placement's; under Ray vLLM refuses it.
    """
    parameters = (*CUDA.parameters, Parameter(option="nnodes", values=("2",)))

    assert "--nnodes" not in Vllm().launch(ray_member(replace(CUDA, parameters=parameters), 0)).argv
