"""Messages to the agent's types and back."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from motorpool import v1
from motorpool_agent.convert.desired import BadMessageError, body_of
from motorpool_agent.convert.facts import facts_message, facts_of
from motorpool_agent.convert.inventory import device_message, profile_message, usage_message
from motorpool_agent.convert.observed import digest_of, digest_over, instance_message, line
from motorpool_agent.inventory import HostUsage, PluginUsage
from motorpool_agent.reconcile.assignment import (
    Assignment,
    Definition,
    DeviceClaim,
    Gang,
    GangDevice,
    GangMember,
    LogSubscription,
    Parameter,
)
from motorpool_agent.reconcile.observation import Failure, ObservedInstance, Rendered, State
from motorpool_formats import ModelFacts
from motorpool_sdk.accelerator import Device, Sample
from motorpool_sdk.backend import Environment, MemoryModel, Profile, Version
from motorpool_sdk.gang import DistributedStyle, PortRange, StartOrder
from tests.agent.session.objects import assignment, logs
from tests.models.facts import EVERYTHING

TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_an_assignment_arrives_whole() -> None:
    """
    Every field that the agent uses is carried over, and what is absent stays absent.
    """
    body = body_of(
        assignment(
            "a",
            3,
            parameters=[v1.Parameter(option="ctx-size", values=["8"], known=True)],
            env={"A": "b"},
            exposure=v1.EXPOSURE_LOCAL,
            api_key="k",
            context_length=0,
            tensor_split=[0.25, 0.75],
            restart_on_error=True,
        )
    )

    assert isinstance(body, Assignment)
    assert (body.generation, body.digest, body.instance) == (3, "a.3", "instances/a")
    assert body.parameters == (Parameter(option="ctx-size", values=("8",), known=True),)
    assert (body.env, body.local_only, body.api_key) == ({"A": "b"}, True, "k")
    assert (body.context_length, body.parallel, body.memory_fraction) == (0, None, None)
    assert (body.memory_bytes, body.devices, body.tensor_split) == (100, (), (0.25, 0.75))


def test_a_definition_arrives_whole() -> None:
    """
    What a declared backend is to run comes with the assignment; times that are absent are the defaults.
    """
    message = assignment(
        definition=v1.BackendDefinition(
            backend="echo",
            version="1.0",
            command=["/opt/echo", "{{port}}"],
            image="echo:1",
            entrypoint=["/e"],
            env={"A": "b"},
            api_key_env="KEY",
            health_path="/up",
            container_port=8080,
            stop_grace=Duration(seconds=7),
        )
    )

    body, plain = body_of(message), body_of(assignment())

    assert isinstance(body, Assignment)
    assert isinstance(plain, Assignment)
    assert body.definition == Definition(
        backend="echo",
        version="1.0",
        command=("/opt/echo", "{{port}}"),
        image="echo:1",
        entrypoint=("/e",),
        env={"A": "b"},
        api_key_env="KEY",
        health_path="/up",
        container_port=8080,
        start_timeout_seconds=600.0,
        stop_grace_seconds=7.0,
    )
    assert (None, "echo", plain.backend) == (plain.definition, body.title, plain.title)


GANG = (
    v1.GangMember(rank=0, node="nodes/a", address="10.7.0.1", ports=[v1.Port(port_name="http", number=24000)]),
    v1.GangMember(
        rank=1,
        node="nodes/b",
        address="10.7.0.2",
        devices=[v1.GangDevice(device_id="G", index=0, address="10.8.0.2"), v1.GangDevice(device_id="M")],
    ),
)


def test_a_gang_arrives_whole() -> None:
    """
    A member hears of all others, in which phase it is, and which sizes were decided; alone, there is no gang.
    """
    message = assignment(
        gang=GANG, rank=1, gang_style="mp", gang_phase=v1.GANG_PHASE_RUN, parallelism={"tp": 2, "pp": 2}
    )

    body, plain = body_of(message), body_of(assignment())

    assert isinstance(body, Assignment)
    assert isinstance(plain, Assignment)
    assert {"tp": 2, "pp": 2} == body.parallelism
    assert (
        Gang(
            style="mp",
            rank=1,
            run=True,
            members=(
                GangMember(rank=0, node="nodes/a", address="10.7.0.1", ports={"http": 24000}),
                GangMember(
                    rank=1,
                    node="nodes/b",
                    address="10.7.0.2",
                    devices=(GangDevice(device_id="G", index=0, address="10.8.0.2"), GangDevice(device_id="M")),
                ),
            ),
        )
        == body.gang
    )
    assert (None, {}) == (plain.gang, plain.parallelism)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"gang": GANG[:1]}, "not all there"),
        ({"gang": GANG[::-1]}, "not all there"),
        ({"rank": 2}, "rank is 2"),
        ({"gang_phase": v1.GANG_PHASE_UNSPECIFIED}, "gang_phase"),
    ],
)
def test_half_a_gang_is_refused(changes: dict[str, Any], word: str) -> None:
    """
    Members that are missing or out of order, a rank that nobody has, a phase that is not known.
    """
    message = assignment(**{"gang": GANG, "gang_style": "mp", "gang_phase": v1.GANG_PHASE_RESERVE, **changes})

    with pytest.raises(BadMessageError, match=word):
        body_of(message)


def test_claims_of_devices_arrive() -> None:
    """
    Device claims keep their order.
    """
    message = assignment()
    message.assignment.claim.devices.add(device_id="GPU-2", memory_bytes=5)
    message.assignment.claim.devices.add(device_id="GPU-1", memory_bytes=6)

    body = body_of(message)

    assert isinstance(body, Assignment)
    assert body.devices == (DeviceClaim("GPU-2", 5), DeviceClaim("GPU-1", 6))


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        (v1.ModelSource(hugging_face=v1.HuggingFaceSource(repository="o/n", file="f", revision="r")), "hugging_face"),
        (v1.ModelSource(model_scope=v1.ModelScopeSource(model_id="o/n", file_path="f", revision="r")), "model_scope"),
    ],
)
def test_hub_sources_arrive(source: v1.ModelSource, kind: str) -> None:
    """
    Both hubs' sources come as repository, file and revision.
    """
    message = assignment()
    message.assignment.model.CopyFrom(source)

    body = body_of(message)

    assert isinstance(body, Assignment)
    assert (body.model.kind, body.model.repository, body.model.file, body.model.revision) == (kind, "o/n", "f", "r")


@pytest.mark.parametrize(("given", "expected"), [(0, None), (5, 5)])
def test_memory_limit_arrives(given: int, expected: int | None) -> None:
    """
    Zero is no limit, as is a controller that does not know of one.
    """
    message = assignment()
    message.assignment.memory_limit_bytes = given

    body = body_of(message)

    assert isinstance(body, Assignment)
    assert expected == body.memory_limit_bytes


def test_a_source_of_no_kind_is_refused() -> None:
    """
    A model from nowhere is refused by name.
    """
    message = assignment("a")
    message.assignment.model.Clear()

    with pytest.raises(BadMessageError, match=r"assignment/a: model"):
        body_of(message)


def test_a_log_subscription_without_a_time_gets_one() -> None:
    """
    No subscription lasts for ever.
    """
    body = body_of(logs("s", "a", seconds=0))

    assert isinstance(body, LogSubscription)
    assert body.timeout_seconds == 3600


@pytest.mark.parametrize(
    ("asked", "attempt"),
    [({}, 0), ({"previous": True}, -1), ({"attempt": 0}, 0), ({"attempt": 3, "previous": True}, 3)],
)
def test_a_log_subscription_names_an_attempt(asked: dict[str, Any], attempt: int) -> None:
    """
    An attempt is named by its number; a controller of before says only that it is the one before.
    """
    message = logs("s", "a")
    message.logs.MergeFrom(v1.LogSubscription(**asked, position="1/x/9", timestamps=True))
    message.logs.since_age.FromSeconds(600)
    message.logs.since_time.FromDatetime(TIME)
    body = body_of(message)

    assert isinstance(body, LogSubscription)
    assert (attempt, "1/x/9", True, 600.0, TIME) == (
        body.attempt,
        body.position,
        body.timestamps,
        body.since_seconds,
        body.since_time,
    )


@pytest.mark.promise("P9")
@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_a_bad_message(data: bytes) -> None:
    """
    Whatever parses as an object becomes one of ours or a BadMessageError.
    """
    message = v1.DesiredObject()
    try:
        message.ParseFromString(data)
    except Exception:  # noqa: BLE001  # protobuf's parser is not what is tested
        return
    for kind in ("assignment", "tombstone", "query", "logs"):
        message.id = f"{kind}/a"
        with contextlib.suppress(BadMessageError):
            body_of(message)


def test_an_observed_instance_is_sent_whole() -> None:
    """
    Launch, process and failures are carried over; lines are cut to what fits.
    """
    message = instance_message(
        ObservedInstance(
            assignment_id="a",
            instance="instances/a",
            generation=2,
            state=State.RUNNING,
            launch=Rendered(
                executor="process", argv=("x", "y"), env={"K": "***"}, ports={"http": 40000}, listen_address="::1"
            ),
            pid=7,
            pid_start_ticks=8,
            start_time=TIME,
            last_failure=Failure(
                time=TIME, reason="EXITED", message="m", signal=9, log_tail=("z" * 9000, *["l"] * 300)
            ),
            adopted=True,
            ports={"http": 40000},
            parts={"python": "3.11.7"},
        )
    )

    assert {"python": "3.11.7"} == dict(message.parts)
    assert (message.state, message.pid, message.pid_start_ticks) == (v1.INSTANCE_STATE_RUNNING, 7, 8)
    assert (list(message.launch.argv), message.launch.ports[0].number) == (["x", "y"], 40000)
    assert message.start_time.ToDatetime(tzinfo=UTC) == TIME
    assert (len(message.last_failure.log_tail), message.last_failure.signal) == (200, 9)
    assert not message.last_failure.HasField("exit_code")
    assert not message.HasField("first_failure")
    assert not message.HasField("progress_bytes")


def test_what_is_unknown_of_a_device_is_absent() -> None:
    """
    Unknown memory is no zero.
    """
    message = device_message(Device(device_id="D", vendor="v", framework="f"), "nodes/n")

    assert message.name == "nodes/n/devices/D"
    assert not message.memory.HasField("total_bytes")
    assert not message.HasField("index")
    assert message.health == v1.HEALTH_UNKNOWN


def test_what_plugins_hold_is_told() -> None:
    """
    Each process's figures, and none for what is unknown.
    """
    host = HostUsage(memory_used_bytes=1, memory_available_bytes=2, cpu_ratio=None)
    plugins = (
        PluginUsage(plugin_id="a", pid=5, resident_bytes=4096, open_files=7, sample_seconds=0.25),
        PluginUsage(plugin_id="b", pid=6),
    )
    message = usage_message(host, {}, plugins=plugins, instances={}, instance_of=lambda pid: "", now=TIME)

    assert [
        v1.PluginUsage(
            plugin_id="a", pid=5, resident_bytes=4096, open_files=7, sample_duration=Duration(nanos=250_000_000)
        ),
        v1.PluginUsage(plugin_id="b", pid=6),
    ] == list(message.plugins)


def test_usage_without_figures_has_none() -> None:
    """
    What was not measured is absent.
    """
    host = HostUsage(memory_used_bytes=1, memory_available_bytes=2, cpu_ratio=None)
    message = usage_message(
        host, {"D": Sample(device_id="D")}, instances={"instances/a": None}, instance_of=lambda pid: "", now=TIME
    )

    assert not message.HasField("cpu_ratio")
    assert not message.HasField("memory_instances_bytes")
    assert [v1.InstanceUsage(instance="instances/a")] == list(message.instances)
    assert not message.devices[0].HasField("used_bytes")


def test_installed_versions_are_marked() -> None:
    """
    A version is installed if its environment stands, or if it needs none.
    """
    profile = Profile(
        backend="b",
        versions=(
            Version(version="1", environment=Environment(requirements=("x==1",))),
            Version(version="2", environment=Environment(requirements=("x==2",))),
            Version(version="3", executable="/bin/x", frameworks=("cuda",), least_runtimes={"cuda": "12.8"}),
        ),
        memory_model=MemoryModel.FIXED,
        rules="fixed",
    )

    message = profile_message(profile, ("2",))

    assert [each.installed for each in message.versions] == [False, True, True]
    assert dict(message.versions[2].least_runtimes) == {"cuda": "12.8"}


def test_styles_are_told_with_their_order() -> None:
    """
    The controller learns how a backend spans nodes and which member goes first; ports are the agent's business.
    """
    profile = Profile(
        backend="b",
        versions=(),
        memory_model=MemoryModel.FIXED,
        rules="fixed",
        distributed_styles=(
            DistributedStyle(style="mp", leader_ports=(PortRange("master"),)),
            DistributedStyle(style="ray", start_order=StartOrder.LEADER_FIRST),
        ),
    )

    message = profile_message(profile, ())

    assert ["mp", "ray"] == message.distributed_styles
    assert {"mp": v1.START_ORDER_TOGETHER, "ray": v1.START_ORDER_LEADER_FIRST} == message.start_orders


def test_facts_survive_the_way() -> None:
    """
    What the controller schedules with comes back as it was.
    """
    facts = ModelFacts(
        format="gguf",
        files=("x-00001-of-00002.gguf", "x-00002-of-00002.gguf"),
        file_bytes=10,
        digest="sha256:0",
        name=None,
        architecture="llama",
        categories=("llm",),
        quantization=None,
        chat_template=True,
        parameters=5,
        weight_bytes=9,
        layer_bytes=(4, 4),
        nonlayer_bytes=1,
        layers=2,
        heads=(32, 16),
        kv_heads=(8, 0),
        context_length=4096,
    )

    assert facts_of(facts_message(facts)) == facts
    assert facts_of(facts_message(EVERYTHING)) == EVERYTHING


def test_digests_tell_bodies_apart() -> None:
    """
    Equal bodies have equal digests, and the digest over all knows ids.
    """
    one, two = v1.Assignment(env={"a": "1", "b": "2"}), v1.Assignment(env={"b": "2", "a": "1"})

    assert digest_of(one) == digest_of(two) != digest_of(v1.Assignment())
    assert digest_over({"a": "1", "b": "2"}) == digest_over({"b": "2", "a": "1"}) != digest_over({"a": "2", "b": "1"})


@pytest.mark.parametrize("text", ["\udc80", "a\0b", "x" * 10_000])
def test_any_line_fits_into_a_message(text: str) -> None:
    """
    A line that is no valid text, or endless, can still be sent.
    """
    message = v1.SendLogsRequest(lines=[line(text)])

    assert len(message.SerializeToString()) < 3000


def test_what_it_was_told_to_run_is_told_back_whole() -> None:
    """
    An assignment with every field that an agent keeps is told back as it came.
    """
    definition = v1.BackendDefinition(
        backend="tts", version="1", command=["{{model_path}}"], env={"A": "b"}, health_path="/h", container_port=80
    )
    definition.start_timeout.FromMilliseconds(1500)
    definition.stop_grace.FromSeconds(5)
    hub = v1.ModelSource(hugging_face=v1.HuggingFaceSource(repository="o/n", file="f", revision="r"))
    scope = v1.ModelSource(model_scope=v1.ModelScopeSource(model_id="o/n", file_path="f", revision="r"))
    members = [
        v1.GangMember(
            rank=rank,
            node=f"nodes/{rank}",
            address=f"10.0.0.{rank}",
            device_ids=["d0"],
            devices=[v1.GangDevice(device_id="d0", index=0, address="192.0.2.1")],
            ports=[v1.Port(port_name="http", number=24_000 + rank)],
        )
        for rank in range(2)
    ]
    told = assignment(
        "a",
        3,
        served_model_name="m",
        parameters=[v1.Parameter(option="ctx-size", values=["8"], known=True)],
        env={"A": "b"},
        exposure=v1.EXPOSURE_LOCAL,
        api_key="k",
        context_length=0,
        parallel=4,
        offloaded_layers=12,
        memory_fraction=0.5,
        tensor_split=[0.25, 0.75],
        restart_on_error=True,
        trust_remote_code=True,
        memory_limit_bytes=1 << 30,
        image="i:1",
        command=["run"],
        packages=["p==1"],
        overcommitted=True,
        downloads=[
            v1.Download(
                source=hub,
                commit="c" * 40,
                files=[v1.HubFile(path="a/f", size_bytes=7, sha256="0" * 64, git_sha1="1" * 40)],
            )
        ],
        definition=definition,
        lora_adapters=[v1.LoraAdapter(adapter="l", source=scope)],
        speculative=v1.SpeculativeDecoding(algorithm="eagle3", draft_model=hub, draft_tokens=3),
        extended_kv_cache=v1.ExtendedKvCache(enabled=True, chunk_size=256),
        traceparent=f"00-{'a' * 32}-{'b' * 16}-01",
        parallelism={"tp": 2},
        rank=1,
        gang=members,
        gang_style="mp",
        gang_phase=v1.GANG_PHASE_RUN,
    )
    told.assignment.facts.CopyFrom(facts_message(EVERYTHING))
    told.assignment.model.CopyFrom(hub)
    told.assignment.claim.devices.add(device_id="d0", memory_bytes=9)
    body = body_of(told)
    assert isinstance(body, Assignment)
    shown = ObservedInstance(
        assignment_id="a", instance="instances/a", generation=3, state=State.QUARANTINED, assignment=body
    )

    unset = {field.name for field in told.assignment.DESCRIPTOR.fields} - {
        field.name for field, _ in told.assignment.ListFields()
    }
    assert set() == unset
    assert told.assignment == instance_message(shown).assignment
    assert "api_key" not in repr(shown)
