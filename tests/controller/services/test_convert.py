import contextlib
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from motorpool import v1
from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.domain.fleet import InstanceUsage, StartOrder
from motorpool_controller.domain.workload import (
    DeploymentSpec,
    Exposure,
    ExtendedKvCache,
    LoraAdapter,
    ModelSource,
    SourceKind,
    Speculative,
    Strategy,
)
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.backend import profile_digest, profile_message, profile_of
from motorpool_controller.services.convert.device import device_message, device_of, device_usage_of
from motorpool_controller.services.convert.facts import facts_message, facts_of
from motorpool_controller.services.convert.instance import report_of
from motorpool_controller.services.convert.node import show_usage, usage_of
from motorpool_controller.services.convert.spec import spec_message, spec_of
from tests.controller.agent_client import FACTS, PROFILE
from tests.controller.fleets import SMOLLM2, device, profile
from tests.models.facts import EVERYTHING

NOW = datetime(2026, 11, 21, tzinfo=UTC)
UNKNOWN: Any = 99
TEXT = st.text(max_size=20)
SIZE = st.one_of(st.none(), st.integers(0, 1 << 50))
SMALL = st.one_of(st.none(), st.integers(0, 1 << 30))
SOURCES = st.one_of(
    st.builds(ModelSource, kind=st.just(SourceKind.LOCAL_PATH), path=TEXT),
    st.builds(
        ModelSource,
        kind=st.sampled_from([SourceKind.HUGGING_FACE, SourceKind.MODEL_SCOPE]),
        repository=TEXT,
        file=TEXT,
        revision=TEXT,
    ),
)
SPECS = st.builds(
    DeploymentSpec,
    model=SOURCES,
    replicas=st.integers(0, 1_000),
    categories=st.lists(TEXT).map(tuple),
    backend=TEXT,
    backend_version=TEXT,
    parameters=st.lists(TEXT).map(tuple),
    env=st.dictionaries(TEXT, TEXT),
    image=TEXT,
    command=st.lists(TEXT).map(tuple),
    strategy=st.sampled_from(Strategy),
    match_labels=st.dictionaries(TEXT, TEXT),
    devices=st.lists(TEXT).map(tuple),
    devices_per_instance=st.integers(0, 8),
    cpu_offloading=st.one_of(st.none(), st.booleans()),
    distributed=st.one_of(st.none(), st.booleans()),
    exposure=st.sampled_from(Exposure),
    restart_on_error=st.booleans(),
    reschedule_after_seconds=st.integers(-1, 1_000_000).map(float),
    drain_seconds=st.one_of(st.none(), st.integers(0, 3_600).map(float)),
    claim_memory_bytes=SIZE,
    claim_device_memory_bytes=SIZE,
    allow_overcommit=st.booleans(),
    extended_kv_cache=st.one_of(
        st.none(), st.builds(ExtendedKvCache, enabled=st.booleans(), memory_bytes=SIZE, chunk_size=SMALL)
    ),
    speculative=st.one_of(
        st.none(), st.builds(Speculative, algorithm=TEXT, draft_model=st.one_of(st.none(), SOURCES), draft_tokens=SMALL)
    ),
    lora_adapters=st.lists(st.builds(LoraAdapter, TEXT, SOURCES), max_size=3).map(tuple),
    trust_remote_code=st.booleans(),
    served_model_name=TEXT,
)


@given(SPECS)
def test_a_spec_survives_the_way_out_and_back(spec: DeploymentSpec) -> None:
    """
    No field of a spec is lost or changed between domain and message.
    """
    assert spec == spec_of(spec_message(spec))


def test_absent_fields_get_their_defaults() -> None:
    """
    A message that names a model and nothing else is the spec with every default.
    """
    source = ModelSource(kind=SourceKind.LOCAL_PATH, path="/m")

    assert DeploymentSpec(model=source) == spec_of(v1.DeploymentSpec(model=v1.ModelSource(local_path="/m")))


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (v1.DeploymentSpec(), "spec.model"),
        (
            v1.DeploymentSpec(model=v1.ModelSource(local_path="/m"), placement_strategy=UNKNOWN),
            "spec.placement_strategy",
        ),
        (v1.DeploymentSpec(model=v1.ModelSource(local_path="/m"), exposure=UNKNOWN), "spec.exposure"),
        (
            v1.DeploymentSpec(model=v1.ModelSource(local_path="/m"), lora_adapters=[v1.LoraAdapter(adapter="x")]),
            "spec.lora_adapters",
        ),
    ],
)
def test_errors_name_the_field(message: v1.DeploymentSpec, field: str) -> None:
    """
    What may not be is FIELD_INVALID, and names its field.
    """
    with pytest.raises(InvalidError) as failed:
        spec_of(message)

    assert ("FIELD_INVALID", field) == (failed.value.reason, failed.value.metadata["field"])


def test_a_profile_survives_the_way_back() -> None:
    """
    A profile is the same after it travelled, and so is its digest; another one has another.
    """
    made = profile()
    newer = replace(made.versions[0], least_runtimes=(("cuda", "12.8"), ("rocm", "6.3")))
    made = replace(made, versions=(newer, *made.versions), distributed_styles=("mp", "ray"))
    made = replace(made, start_orders=(("ray", StartOrder.LEADER_FIRST),))

    assert made == profile_of(profile_message(made))
    assert profile_digest(made) == profile_digest(profile_of(profile_message(made)))
    assert profile_digest(made) != profile_digest(profile(rules="fixed"))
    assert "llama_cpp" == profile_of(PROFILE).backend
    assert (StartOrder.TOGETHER, StartOrder.LEADER_FIRST) == (made.start_order("mp"), made.start_order("ray"))


def test_a_device_survives_the_way_back() -> None:
    """
    A device is the same after it travelled.
    """
    assert device() == device_of(device_message("nodes/a", device()))


def test_facts_survive_the_way_back() -> None:
    """
    A model's facts are the same after they travelled, also where layers differ.
    """
    uneven = replace(SMOLLM2, heads=(9, 0, 9), feed_forward=(1536, 0, 1536), chat_template=True)

    assert SMOLLM2 == facts_of(facts_message(SMOLLM2), "facts")
    assert uneven == facts_of(facts_message(uneven), "facts")
    assert facts_of(facts_message(EVERYTHING), "facts") == EVERYTHING


def test_facts_without_weights_are_none() -> None:
    """
    Facts that do not tell the weights' size are refused: an unknown is never 0.
    """
    with pytest.raises(InvalidError, match="weight_bytes"):
        facts_of(v1.ModelFacts(format="gguf"), "answer.facts")
    assert FACTS.weight_bytes == facts_of(FACTS, "answer.facts").weight_bytes


def test_times_are_bounded() -> None:
    """
    A time that no date could be moved by is refused.
    """
    endless = v1.DeploymentSpec(model=v1.ModelSource(local_path="/m"), reschedule_after=Duration(seconds=1 << 60))

    with pytest.raises(InvalidError, match="reschedule_after"):
        spec_of(endless)


def test_a_measurement_is_of_now() -> None:
    """
    An agent's clock is not believed; its figures are, where they are figures.
    """
    far = Timestamp(seconds=4_000_000_000)

    usage = usage_of(v1.NodeUsage(measure_time=far, memory_available_bytes=5), NOW)

    assert (NOW, 5, None) == (usage.measure_time, usage.memory_available_bytes, usage.memory_used_bytes)
    with pytest.raises(InvalidError):
        usage_of(v1.NodeUsage(cpu_ratio=math.nan), NOW)
    with pytest.raises(InvalidError):
        usage_of(v1.NodeUsage(memory_used_bytes=-1), NOW)


def test_own_memory_is_known_where_every_process_tells() -> None:
    """
    What our instances hold of a device is their processes' sum, and unknown if one of them tells nothing.
    """
    foreign = v1.DeviceProcess(pid=1)
    ours = v1.DeviceProcess(pid=2, used_bytes=7, instance="instances/a")
    mute = v1.DeviceProcess(pid=3, instance="instances/b")

    assert 7 == device_usage_of(v1.DeviceUsage(device_id="d", processes=[foreign, ours]), "x").own_bytes
    assert None is device_usage_of(v1.DeviceUsage(device_id="d", processes=[ours, mute]), "x").own_bytes
    assert None is device_usage_of(v1.DeviceUsage(device_id="d"), "x").own_bytes


@pytest.mark.promise("P2")
def test_what_no_claim_stands_for_is_not_own_memory() -> None:
    """
    What an agent runs that is not placed there, as for a store that was restored since, counts as a stranger's.
    """
    processes = [
        v1.DeviceProcess(pid=1, used_bytes=7, instance="instances/placed"),
        v1.DeviceProcess(pid=2, used_bytes=5, instance="instances/forgotten"),
    ]
    told = v1.NodeUsage(
        memory_instances_bytes=30,
        instances=[
            v1.InstanceUsage(instance="instances/placed", memory_bytes=10),
            v1.InstanceUsage(instance="instances/forgotten", memory_bytes=20),
        ],
        devices=[v1.DeviceUsage(device_id="d", used_bytes=12, processes=processes)],
    )

    usage = usage_of(told, NOW, placed={"instances/placed"})

    assert (10, 7) == (usage.memory_own_bytes, usage.devices[0].own_bytes)


def test_instances_hold_what_their_processes_hold() -> None:
    """
    Of each device the sum of an instance's processes, and nothing of a device where one of them is mute.
    """
    a, b = (
        v1.DeviceUsage(
            device_id=name,
            processes=[
                v1.DeviceProcess(pid=1, used_bytes=7, instance="instances/a"),
                v1.DeviceProcess(pid=2, used_bytes=second, instance="instances/a"),
                v1.DeviceProcess(pid=3, used_bytes=100),
            ],
        )
        for name, second in (("d", 5), ("e", None))
    )
    message = v1.NodeUsage(devices=[a, b], instances=[v1.InstanceUsage(instance="instances/a", memory_bytes=9)])

    (held,) = usage_of(message, NOW).instances

    assert InstanceUsage(instance="instances/a", memory_bytes=9, devices={"d": 12}) == held


def test_what_plugins_hold_comes_back_as_it_was() -> None:
    """
    An unknown stays one; a figure that cannot be is refused.
    """
    message = v1.NodeUsage(
        plugins=[
            v1.PluginUsage(plugin_id="a", pid=5, resident_bytes=9, open_files=7, sample_duration=Duration(seconds=2)),
            v1.PluginUsage(plugin_id="b", pid=6),
        ]
    )

    shown = v1.NodeUsage()
    show_usage(shown, usage_of(message, NOW))

    assert list(message.plugins) == list(shown.plugins)
    with pytest.raises(InvalidError, match="open_files"):
        usage_of(v1.NodeUsage(plugins=[v1.PluginUsage(open_files=-1)]), NOW)


@pytest.mark.parametrize("state", [v1.INSTANCE_STATE_UNSPECIFIED, v1.INSTANCE_STATE_PENDING, 99])
def test_states_that_no_agent_may_report(state: v1.InstanceState.ValueType) -> None:
    """
    An agent cannot report a state that is the controller's to say.
    """
    with pytest.raises(InvalidError):
        report_of(v1.ObservedInstance(assignment_id="x", state=state))


def test_a_log_tail_is_bounded() -> None:
    """
    Of a failure's log the last two hundred lines are kept.
    """
    failure = v1.Failure(reason="EXITED", log_tail=[str(number) for number in range(500)])

    report = report_of(v1.ObservedInstance(assignment_id="x", state=v1.INSTANCE_STATE_ERROR, last_failure=failure))

    assert report.last_failure is not None
    assert (200, "499") == (len(report.last_failure.log_tail), report.last_failure.log_tail[-1])


def test_what_has_to_be_alike_is_told_and_bounded() -> None:
    """
    A member's versions come by name; hundreds of them are no member's.
    """
    message = v1.ObservedInstance(assignment_id="x", state=v1.INSTANCE_STATE_STARTING, parts={"python": "3.11.7"})

    assert {"python": "3.11.7"} == report_of(message).parts

    message.parts.update({str(number): "1" for number in range(100)})
    with pytest.raises(InvalidError, match="parts"):
        report_of(message)


@given(st.binary(max_size=200))
@pytest.mark.promise("P9")
def test_any_bytes_make_an_object_or_an_error(raw: bytes) -> None:
    """
    Whatever parses as a message converts, or is an InvalidError, and nothing else.
    """
    parsers: tuple[Callable[[], object], ...] = (
        lambda: device_of(v1.Device.FromString(raw)),
        lambda: profile_of(v1.BackendProfile.FromString(raw)),
        lambda: report_of(v1.ObservedInstance.FromString(raw)),
        lambda: spec_of(v1.DeploymentSpec.FromString(raw)),
    )
    for convert in parsers:
        with contextlib.suppress(DecodeError, InvalidError):
            convert()


@given(st.integers(-(10**9), 10**9), st.sampled_from([0, 250_000_000, 500_000_000]))
def test_durations(seconds: int, nanos: int) -> None:
    """
    A duration's seconds are the same there and back.
    """
    sent = Duration(seconds=seconds, nanos=nanos if seconds >= 0 else -nanos)

    assert fields.seconds_of(sent) == fields.seconds_of(fields.duration(fields.seconds_of(sent)))
