"""MindIE's profile, its table of parameters, its files and its checks; test_launches.py has whole launches."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from motorpool_mindie.configuration import CONFIGURATION, RANK_TABLE
from motorpool_mindie.plugin import Mindie
from motorpool_sdk import Launch, LaunchRequest, OptionKind, Parameter, Severity
from tests.plugins.backends.mindie.requests import EARLY, FOLLOWER, LEADER, ONE, SEVERAL, WHOLE_TABLE, given

SEED = (
    *("trust-remote-code", "npu-memory-fraction", "max-link-num", "token-timeout", "e2e-timeout", "max-seq-len"),
    *("max-input-token-len", "truncation", "cpu-mem-size", "cache-block-size", "max-batch-size"),
    *("max-prefill-batch-size", "max-preempt-count", "max-queue-delay-microseconds", "prefill-time-ms-per-req"),
    *("prefill-policy-type", "decode-time-ms-per-req", "decode-policy-type", "support-select-batch"),
    *("enable-prefix-caching", "enforce-eager", "dtype", "rope-scaling", "rope-theta", "override-generation-config"),
    *("metrics", "log-level", "no-enable-prefix-caching"),
)


def launched(request: LaunchRequest, *parameters: Parameter) -> Launch:
    return Mindie().launch(replace(request, parameters=parameters))


def text_of(launch: Launch, path: Path) -> Any:
    (file,) = (file for file in launch.files if file.path == path)
    return json.loads(file.text)


def refused(request: LaunchRequest, *parameters: Parameter) -> list[str]:
    found = Mindie().check(replace(request, parameters=parameters))
    return [finding.message for finding in found if finding.severity is Severity.ERROR]


def test_every_parameter_of_the_seed_is_there() -> None:
    """
    Whoever moves here from the published product finds each parameter of its table, and no other is passed on.
    """
    profile = Mindie().profile()
    names = {option.name for option in profile.options if not option.system_owned}

    assert set() == set(SEED) - names
    assert set() == {parameter.option for parameter in WHOLE_TABLE} - names
    assert profile.closed_options


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("npu-memory-fraction", {"above": 0, "most": 1}),
        ("max-link-num", {"least": 1, "most": 1000, "default": "1000"}),
        ("token-timeout", {"least": 1, "most": 3600}),
        ("cache-block-size", {"power_of_two": True, "default": "128"}),
        ("max-prefill-batch-size", {"below": "max-batch-size", "default": "50"}),
        ("max-preempt-count", {"below": "max-batch-size", "default": "0"}),
        ("max-queue-delay-microseconds", {"least": 500, "most": 1_000_000, "default": "5000"}),
        ("split-chunk-tokens", {"least": 1, "most": 8192, "multiple_of": 16}),
        ("prefill-policy-type", {"choices": ("0", "1", "2", "3")}),
        ("tensor-parallel-size", {"power_of_two": True, "aliases": ("tp",)}),
        ("rope-scaling", {"kind": OptionKind.JSON}),
    ],
)
def test_the_table_says_what_a_value_may_be(name: str, limits: dict[str, object]) -> None:
    """
    B8.1: ranges, powers, defaults and what is less than what stand in the table, which deploy holds values to.
    """
    (option,) = (option for option in Mindie().profile().options if option.name == name)

    assert limits == {limit: getattr(option, limit) for limit in limits}


def test_ways_to_plan_a_batch_exclude_one_another() -> None:
    """
    Prefix caching, splitting and guessing go neither together nor with stretched positions.
    """
    options = {option.name: option for option in Mindie().profile().options}

    assert {"enable-split", "enable-lookahead", "rope-scaling"} <= set(options["enable-prefix-caching"].excludes)


def test_devices_are_counted_as_the_engine_sees_them() -> None:
    """
    Devices 2 to 5 of a node are the first four of those that the container is shown.
    """
    backend = text_of(launched(SEVERAL), CONFIGURATION)["BackendConfig"]

    assert [[0, 1, 2, 3]] == backend["npuDeviceIds"]
    assert 4 == backend["ModelDeployConfig"]["ModelConfig"][0]["worldSize"]


@pytest.mark.parametrize(
    ("request_", "parameters", "swap"),
    [
        (ONE, (), 0),
        (EARLY, (), 5),
        (EARLY, (given("max-preempt-count", "0"),), 0),
        (ONE, (given("cpu-mem-size", "7"),), 7),
    ],
)
def test_host_memory_is_what_the_scheduler_claims(
    request_: LaunchRequest, parameters: tuple[Parameter, ...], swap: int
) -> None:
    """
    A28: the default follows from the version, and the file and the swapper's variable say the same.
    """
    launch = launched(request_, *parameters)

    model = text_of(launch, CONFIGURATION)["BackendConfig"]["ModelDeployConfig"]["ModelConfig"][0]
    assert (swap, "1" if swap else "0") == (model["cpuMemSize"], launch.env["MIES_USE_MB_SWAPPER"])


def test_the_models_own_files_are_changed_for_this_instance() -> None:
    """
    Type, positions and generation go onto the model's files, and nothing else of them is changed.
    """
    launch = launched(ONE, *WHOLE_TABLE)

    config = Path("/models/qwen3-8b/config.json")
    rope = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    assert {"torch_dtype": "float16", "rope_scaling": rope, "rope_theta": 1e6} == text_of(launch, config)
    assert {"temperature": 0.5} == text_of(launch, config.with_name("generation_config.json"))
    assert {config, config.with_name("generation_config.json")} == {file.onto for file in launch.files if file.onto}


def test_nothing_of_the_model_is_touched_unasked() -> None:
    """
    Without such parameters there is MindIE's own file and what starts it.
    """
    assert not [file for file in launched(ONE).files if file.onto is not None]


def test_what_is_given_reaches_its_key() -> None:
    """
    B14.10: time limits too, which the published product took and never wrote.
    """
    configuration = text_of(launched(ONE, *WHOLE_TABLE), CONFIGURATION)

    server, schedule = configuration["ServerConfig"], configuration["BackendConfig"]["ScheduleConfig"]
    assert (300, 60, 90) == (server["maxLinkNum"], server["tokenTimeout"], server["e2eTimeout"])
    assert (48, 24, 2, 600) == (
        schedule["maxBatchSize"],
        schedule["maxPrefillBatchSize"],
        schedule["maxPreemptCount"],
        schedule["maxQueueDelayMicroseconds"],
    )
    assert schedule["supportSelectBatch"] is True


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ((given("max-iter-times", "9000"),), "a sequence has 8192 tokens"),
        ((given("max-input-token-len", "9000"),), "a sequence has 8192 tokens"),
        ((given("max-prefill-tokens", "100"), given("max-input-token-len", "200")), "raise it"),
        ((given("max-preempt-count", "1"),), "give --cpu-mem-size"),
        ((given("data-parallel-size", "2"), given("enable-split")), "leave one of them out"),
        ((given("rope-scaling", "7"),), "is a JSON object"),
        ((Parameter(option="--brand-new", known=False),), "no parameter of MindIE"),
        ((Parameter(option="port", values=("1",)),), "set by Motorpool"),
    ],
)
def test_what_mindie_would_not_take_is_refused(parameters: tuple[Parameter, ...], words: str) -> None:
    """
    What the manual rules out is found before anything is launched, with the value and what to do.
    """
    (message,) = refused(ONE, *parameters)

    assert words in message


@pytest.mark.parametrize("name", ["hf/qwen", "-qwen", "qwen."])
def test_a_name_that_mindie_cannot_serve_is_refused(name: str) -> None:
    """
    MindIE takes letters, digits, dots, dashes and underscores, and a letter or digit at both ends.
    """
    assert ["MindIE serves no model"] == [each[:22] for each in refused(replace(ONE, served_model_name=name))]


def test_the_rank_table_counts_devices_through_all_members() -> None:
    """
    Each device stands under its own node with its real number and its own address, and both members read the same.
    """
    leader, follower = launched(LEADER), launched(FOLLOWER)

    table = text_of(leader, RANK_TABLE)
    assert table == text_of(follower, RANK_TABLE)
    assert ["10.7.0.1", "10.7.0.2"] == [server["server_id"] for server in table["server_list"]]
    devices = [device for server in table["server_list"] for device in server["device"]]
    assert [str(rank) for rank in range(8)] == [device["rank_id"] for device in devices]
    assert ["2", "3", "4", "5"] * 2 == [device["device_id"] for device in devices]
    assert "29.50.1.2" == devices[4]["device_ip"]
    assert ("8", str(RANK_TABLE)) == (leader.env["WORLD_SIZE"], leader.env["RANKTABLEFILE"])
    assert [40100, 40100] == [
        text_of(launch, CONFIGURATION)["BackendConfig"]["multiNodesInferPort"] for launch in (leader, follower)
    ]
    assert [True, False] == [launch.serves for launch in (leader, follower)]


def test_a_device_without_an_address_is_named() -> None:
    """
    Over several nodes each device needs an address of its own, and who lacks one is told by node.
    """
    assert LEADER.gang is not None
    first, second = LEADER.gang.members
    lacking = replace(second, devices=(replace(second.devices[0], address=""), *second.devices[1:]))

    (message,) = refused(replace(LEADER, gang=replace(LEADER.gang, members=(first, lacking))))

    assert "npu-b2 of nodes/b has no address of its own" in message


def test_nodes_are_a_pipeline_of_tensor_groups_unless_the_user_says_otherwise() -> None:
    """
    Over two nodes of four devices the placement's sizes are written; the user's take their place whole.
    """

    def sizes(*parameters: Parameter) -> dict[str, object]:
        model = text_of(launched(LEADER, *parameters), CONFIGURATION)["BackendConfig"]["ModelDeployConfig"]
        return {key: value for key, value in model["ModelConfig"][0].items() if key in {"pp", "tp", "dp"}}

    assert {"pp": 2, "tp": 4} == sizes()
    assert {"tp": 8} == sizes(given("tensor-parallel-size", "8"))
