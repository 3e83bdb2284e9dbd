"""What parameters make of a model's facts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.domain.fleet import Option, OptionKind
from motorpool_controller.domain.parameters import parse
from motorpool_controller.domain.placement import Estimate
from motorpool_controller.estimation.launched import check_overrides, launched_facts
from motorpool_controller.estimation.needs import needs_of
from motorpool_controller.estimation.unknown import UnknownError
from motorpool_formats.facts import Companion, ModelFacts
from tests.controller.fleets import profile, spec
from tests.models.facts import EVERYTHING

OPTIONS = (
    Option(name="overrides", aliases=("o",), kind=OptionKind.JSON, meaning="config_overrides"),
    Option(name="tower", aliases=("t",), meaning="projector"),
    Option(name="blind", kind=OptionKind.FLAG, meaning="no_projector"),
)

PRECISE = Companion(kind="projector", file="towers/mmproj-F32.gguf", file_bytes=900, weight_bytes=800, heads=16)
SMALL = Companion(kind="projector", file="towers/mmproj-Q8_0.gguf", file_bytes=300, weight_bytes=200, heads=12)
ADAPTER = Companion(kind="adapter", file="a.gguf", file_bytes=1)

SEEING = replace(
    EVERYTHING, format="gguf", companions=(PRECISE, SMALL, ADAPTER), vision_heads=16, audio_heads=None, layers=4
)
CONFIGURED = replace(SEEING, format="safetensors", companions=(), layer_bytes=(10, 10, 10, 10), weight_bytes=100)


def launched(facts: ModelFacts, *arguments: str, options: tuple[Option, ...] = OPTIONS) -> ModelFacts:
    return launched_facts(facts, options, parse(arguments, options))


def test_the_first_projector_is_loaded() -> None:
    """
    Of several projectors the first is loaded, and the others are no part of what runs.
    """
    assert (PRECISE, ADAPTER) == launched(SEEING).companions
    assert 16 == launched(SEEING).vision_heads


@pytest.mark.parametrize("named", ["mmproj-Q8_0.gguf", "/models/q/towers/mmproj-Q8_0.gguf"])
def test_a_projector_may_be_named(named: str) -> None:
    """
    The one that a parameter names is loaded instead, with the heads of its tower.
    """
    facts = launched(SEEING, "--t", named)

    assert (SMALL, ADAPTER) == facts.companions
    assert (12, None) == (facts.vision_heads, facts.audio_heads)
    assert 12 == launched(replace(SEEING, vision_heads=None, audio_heads=16), "--tower", named).audio_heads


def test_a_projector_may_be_left_out() -> None:
    """
    Without its projector a model sees nothing, and nothing is claimed for one.
    """
    facts = launched(SEEING, "--blind")

    assert ((ADAPTER,), None, None) == (facts.companions, facts.vision_heads, facts.audio_heads)


def test_a_backend_that_cannot_leave_it_out_loads_none() -> None:
    """
    A projector is loaded unasked only by backends with an option against that.
    """
    assert () == launched(SEEING, options=OPTIONS[:2]).projectors
    assert (SMALL,) == launched(SEEING, "--t", SMALL.file, options=OPTIONS[:2]).projectors


def test_a_projector_that_was_not_read_is_unknown() -> None:
    """
    Memory of a projector that lies elsewhere is not known, and what lies beside the model is named.
    """
    with pytest.raises(
        UnknownError, match=r"other\.gguf was not read: beside the model there is towers/mmproj-F32\.gguf"
    ):
        launched(SEEING, "--tower", "/elsewhere/other.gguf")


def test_overrides_change_what_is_known_and_needed() -> None:
    """
    Half of the layers are half of their bytes, in the facts and in what an instance needs.
    """
    half = launched(CONFIGURED, "--overrides", '{"num_hidden_layers": 2}')
    by_alias = launched(CONFIGURED, '--o={"num_hidden_layers": 2}')

    assert (2, 80) == (half.layers, half.weight_bytes)
    assert half == by_alias

    def weights(*arguments: str) -> Estimate:
        fixed = profile(rules="fixed", options=OPTIONS)
        return needs_of(CONFIGURED, fixed, parse(arguments, OPTIONS), spec()).device

    assert (100, 80) == (weights().weights, weights("--o", '{"num_hidden_layers": 2}').weights)


def test_overrides_leave_gguf_alone() -> None:
    """
    A GGUF model has no config.json that could be overridden.
    """
    assert launched(SEEING) == launched(SEEING, "--o", '{"num_hidden_layers": 2}')


@pytest.mark.parametrize(
    ("overrides", "said"),
    [("[1]", "not a JSON object"), ('{"num_hidden_layers": "many"}', "num_hidden_layers"), ("7", "not a JSON object")],
)
def test_overrides_that_no_model_has_are_refused(overrides: str, said: str) -> None:
    """
    JSON that is no object, or of a type that the key has not, is the user's mistake, and nothing is estimated.
    """
    with pytest.raises(InvalidError, match=said) as caught:
        launched(CONFIGURED, "--overrides", overrides)
    needs = needs_of(
        CONFIGURED, profile(rules="vllm", options=OPTIONS), parse(["--overrides", overrides], OPTIONS), spec()
    )

    assert "PARAMETER_INVALID" == caught.value.reason
    assert (None, ("parameters",)) == (needs.device.upper, needs.device.missing)
    assert said in needs.device.provenance


def test_overrides_are_checked_before_the_model_is_known() -> None:
    """
    A deployment whose overrides can be meant for no model is refused when it is created.
    """
    check_overrides(OPTIONS, parse(["--overrides", '{"rope_scaling": null}'], OPTIONS))
    with pytest.raises(InvalidError, match="not a JSON object"):
        check_overrides(OPTIONS, parse(["--overrides", "[]"], OPTIONS))
