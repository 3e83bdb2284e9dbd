"""What is refused when a deployment is made, before any node or model is looked at."""

from dataclasses import replace

import pytest

from motorpool_controller.domain.backends import Offer
from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.domain.workload import DeploymentSpec, ModelSource, SourceKind
from motorpool_controller.services.choices import choose
from motorpool_controller.services.known import KNOWN

MODEL = ModelSource(kind=SourceKind.LOCAL_PATH, path="/models/qwen3-8b")


def refused(backend: str, *parameters: str, **fields: object) -> InvalidError:
    spec = DeploymentSpec(model=MODEL, backend=backend, parameters=parameters)
    with pytest.raises(InvalidError) as caught:
        choose(replace(spec, **fields), KNOWN)  # type: ignore[arg-type]  # fields by name
    return caught.value


@pytest.mark.parametrize(
    ("backend", "parameters", "words"),
    [
        ("vllm", ("--gpu-memory-utilization=1.5",), "is 1.5, and it is above 0 and at most 1"),
        ("sglang", ("--mem-fraction-static", "0"), "is 0, and it is above 0"),
        ("mindie", ("--npu-memory-fraction", "2"), "is 2, and it is above 0"),
        ("vllm", ("--tensor-parallel-size", "0"), "--tensor-parallel-size"),
        ("sglang", ("--tp", "-2"), "is -2, and it is at least 1"),
        ("sglang", ("--pp-size 2", "--enable-mixed-chunk"), "does not go with --enable-mixed-chunk"),
        ("mindie", ("-tp 3",), "is 3, and it is a power of two"),
        ("mindie", ("-pp 2", "-dp 2"), "--pipeline-parallel-size excludes --data-parallel-size"),
        ("mindie", ("-tp 4", "-sp 2"), "wants them the same"),
        ("mindie", ("--max-prefill-batch-size 300",), "less than --max-batch-size, which is 200 by default"),
        ("mindie", ("--enable-prefix-caching", "--rope-scaling={}"), "leave one of them out"),
        ("mindie", ("--rope-scaling", "yarn"), "wants JSON"),
        ("mindie", ("--brand-new", "1"), "is no parameter of mindie"),
        ("mindie", ("--log-level", "Loud"), "it is one of Verbose, Info"),
        ("vox-box", ("--device", "cuda:1"), "is set by Motorpool"),
        ("sglang", ("--nnodes 2",), "is set by Motorpool"),
    ],
)
def test_what_no_engine_would_take_is_refused_at_once(backend: str, parameters: tuple[str, ...], words: str) -> None:
    """
    Ranges, contradictions, JSON that is none, what Motorpool owns: the message has the value and what to do.
    """
    error = refused(backend, *parameters)

    assert ("PARAMETER_INVALID", "spec.parameters") == (error.reason, error.metadata["field"])
    assert words in error.message


@pytest.mark.parametrize("backend", ["vllm", "sglang", "mindie"])
def test_a_number_of_devices_contradicts_parallel_sizes(backend: str) -> None:
    """
    Two devices for an instance and four by its parameters: both numbers are told.
    """
    error = refused(backend, "--tensor-parallel-size=4", devices_per_instance=2)

    assert "DEVICES_DIFFER" == error.reason
    assert "devices_per_instance is 2, and the parallel sizes in the parameters make 4" in error.message


def test_a_version_that_no_node_has_is_refused_with_those_there_are() -> None:
    """
    The versions of all nodes count, not the first one's alone.
    """
    profile = KNOWN["vllm"].profile
    offers = {"vllm": Offer(profile, ("nodes/a", "nodes/b"), versions=("0.32.0", "0.9.2"))}
    spec = DeploymentSpec(model=MODEL, backend="vllm")

    assert choose(replace(spec, backend_version="0.9.2"), offers).profile is profile
    with pytest.raises(InvalidError, match=r"version “1.0” of vllm; there is 0\.32\.0, 0\.9\.2") as caught:
        choose(replace(spec, backend_version="1.0"), offers)
    assert "spec.backend_version" == caught.value.metadata["field"]


def test_more_devices_than_an_engine_uses_are_refused() -> None:
    """
    vox-box uses one device: two for an instance are told to be too many, with the number that is right.
    """
    error = refused("vox-box", devices_per_instance=2)

    assert "DEVICES_TOO_MANY" == error.reason
    assert "vox_box uses 1 at most; give devices_per_instance 1" in error.message
