"""What a model's facts are once it is launched: parameters of an engine change some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.domain.fleet import Option
from motorpool_controller.domain.parameters import has, value_of
from motorpool_controller.domain.workload import Parameter
from motorpool_controller.estimation.unknown import UnknownError
from motorpool_formats.errors import FormatError
from motorpool_formats.facts import PROJECTOR, Companion, ModelFacts
from motorpool_formats.hugging_face.overrides import overridden, parse_overrides

OVERRIDES = "config_overrides"
"""The option with JSON that changes what config.json says."""

LOADED_PROJECTOR = "projector"
NO_PROJECTOR = "no_projector"
"""The option that leaves the projector out: a backend that has it loads the one beside the model by itself."""

_WITH_CONFIG = ("safetensors", "pytorch")


def launched_facts(facts: ModelFacts, options: Sequence[Option], parameters: Sequence[Parameter]) -> ModelFacts:
    """Return the facts of the model as these parameters have an engine load it: of projectors, the loaded one alone.

    Raise PARAMETER_INVALID where a parameter changes them to what no model has, and UnknownError where it names a
    projector that was not read.
    """
    overrides = value_of(parameters, options, OVERRIDES)
    if overrides is not None and facts.format in _WITH_CONFIG:
        facts = _overridden(facts, overrides)
    return _projecting(facts, _projector(facts, options, parameters))


def check_overrides(options: Sequence[Option], parameters: Sequence[Parameter]) -> None:
    """Raise PARAMETER_INVALID where a parameter can change no model's facts."""
    overrides = value_of(parameters, options, OVERRIDES)
    if overrides is not None:
        _overrides(overrides)


def _overridden(facts: ModelFacts, text: str) -> ModelFacts:
    overrides = _overrides(text)
    try:
        return overridden(facts, overrides)
    except FormatError as error:
        raise _invalid(error) from error


def _overrides(text: str) -> dict[str, object]:
    try:
        return parse_overrides(text)
    except FormatError as error:
        raise _invalid(error) from error


def _invalid(error: FormatError) -> InvalidError:
    return InvalidError("PARAMETER_INVALID", str(error), metadata={"field": "spec.parameters"})


def _projector(facts: ModelFacts, options: Sequence[Option], parameters: Sequence[Parameter]) -> Companion | None:
    named = value_of(parameters, options, LOADED_PROJECTOR)
    if named is None:
        alone = any(option.meaning == NO_PROJECTOR for option in options) and not has(parameters, options, NO_PROJECTOR)
        return facts.projectors[0] if alone and facts.projectors else None
    name = PurePosixPath(named).name
    found = next((each for each in facts.projectors if PurePosixPath(each.file).name == name), None)
    if found is None:
        beside = ", ".join(each.file for each in facts.projectors) or "none that fits it"
        raise UnknownError(
            f"the projector {name} was not read: beside the model there is {beside}; put it there", "companions"
        )
    return found


def _projecting(facts: ModelFacts, loaded: Companion | None) -> ModelFacts:
    """Return the facts with this projector and no other; the heads of its tower take the place of the first one's."""
    if not facts.projectors or facts.projectors == (loaded,):
        return facts
    others = tuple(each for each in facts.companions if each.kind != PROJECTOR)
    if loaded is None:
        return replace(facts, companions=others, vision_heads=None, audio_heads=None)
    sees = facts.vision_heads is not None
    return replace(
        facts,
        companions=(loaded, *others),
        vision_heads=loaded.heads if sees else None,
        audio_heads=facts.audio_heads if sees else loaded.heads,
    )
