"""What is estimated, held against what llama.cpp itself says that it takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from examples.demo import model as demo_model
from motorpool import v1
from motorpool_controller.domain.parameters import parse
from motorpool_controller.estimation.gguf import estimate
from motorpool_controller.estimation.offload import Offload
from motorpool_formats import read_model
from motorpool_llama_cpp import launcher
from tests.controller.fleets import OPTIONS
from tests.e2e.fleet import Fleet, wait_for
from tests.models.animals import REAL, SMALL
from tests.models.engine_memory import MIB, EngineMemory, engine_memory
from tests.models.zoo import Animal

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ARGUMENTS = (
    ("-c", "8192", "-np", "1"),
    ("-c", "8192", "-np", "1", "-fa", "off"),
    ("-c", "12000", "-np", "3", "-ub", "256", "-ctk", "q8_0", "-ctv", "q8_0"),
    ("-c", "6000", "-np", "4", "--kv-unified", "-ub", "1024"),
)
EXACT = 0.01
COMPUTE = 0.15
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session", name="python")
def find_python(engines: Path) -> Path:
    """
    The Python that has the engine.
    """
    [python] = engines.glob("llama_cpp/*/bin/python")
    return python


def estimated(model: Path, arguments: Sequence[str]) -> Offload:
    offload = estimate(read_model(model), OPTIONS, parse(arguments, OPTIONS)).offload
    assert offload is not None
    return offload


def hold(offload: Offload, seen: EngineMemory, *, rounding: float = 0.02 * MIB) -> None:
    host = offload.host

    assert seen.weights == pytest.approx(host.weights, rel=EXACT, abs=rounding)
    assert seen.cache == pytest.approx(host.cache, rel=EXACT, abs=0.02 * MIB)
    assert seen.compute == pytest.approx(host.compute - offload.results, rel=COMPUTE)
    assert seen.results == pytest.approx(offload.results, rel=EXACT, abs=0.02 * MIB)


@pytest.mark.parametrize("animal", SMALL, ids=lambda animal: animal.name)
def test_models_of_every_kind_take_what_is_estimated(animal: Animal, tmp_path: Path, python: Path) -> None:
    """
    Loaded with random weights, weights and cache are exact to 1 %, and compute buffers to 15 %.
    """
    model = animal.write(tmp_path / f"{animal.name}.gguf")
    for arguments in ARGUMENTS:
        seen = engine_memory(python, Path(launcher.__file__), model, arguments, planned=False)

        hold(estimated(model, arguments), seen)


@pytest.mark.parametrize("animal", REAL, ids=lambda animal: animal.name)
def test_models_of_real_sizes_are_planned_as_is_estimated(animal: Animal, tmp_path: Path, python: Path) -> None:
    """
    The engine's own plan for models of 3 to 240 billion parameters agrees to the same bounds.
    """
    model = animal.write(tmp_path / f"{animal.name}.gguf", holes=True)
    for arguments in ARGUMENTS:
        seen = engine_memory(python, Path(launcher.__file__), model, arguments, planned=True)

        hold(estimated(model, arguments), seen, rounding=3 * MIB)


def test_a_real_model_takes_what_is_estimated(python: Path) -> None:
    """
    SmolLM2-135M, as it is published.
    """
    model = demo_model.fetch(ROOT / ".cache" / "models")
    for arguments in ARGUMENTS:
        seen = engine_memory(python, Path(launcher.__file__), model, arguments, planned=False)

        hold(estimated(model, arguments), seen)


def test_what_the_engine_holds_is_told_of_the_next_of_its_kind(fleet: Fleet, tiny_model: Path) -> None:
    """
    Once an agent has measured a running instance, the next deployment of the same model tells the figure and the
    difference to the formula; its claim is below neither.
    """
    fleet.start_agent()
    fleet.deploy("first", tiny_model)
    fleet.wait_state("first", v1.INSTANCE_STATE_RUNNING)

    def told() -> v1.Estimate | None:
        fleet.delete("second")
        fleet.deploy("second", tiny_model)
        fleet.wait_state("second", v1.INSTANCE_STATE_RUNNING)
        found = fleet.deployments.GetDeployment(v1.GetDeploymentRequest(name="deployments/second"), timeout=10)
        return found.estimate if found.estimate.HasField("measured_bytes") else None

    estimate = wait_for("a measurement", told)

    assert MIB < estimate.measured_bytes
    assert estimate.measured_bytes - estimate.measured_difference_bytes <= estimate.upper_bytes
    assert estimate.measured_bytes * 1.05 <= estimate.upper_bytes
    assert v1.CONFIDENCE_HIGH == estimate.confidence
