"""The user's parameters as values of MindIE's configuration, and what speaks against them together."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from motorpool_mindie.options import SETTINGS, Section
from motorpool_sdk import LaunchRequest, OptionKind

DEFAULT_SEQUENCE = 8192


@dataclass(frozen=True, slots=True)
class Parameters:
    """What was given, by canonical name; the first value of each wins."""

    given: dict[str, tuple[str, ...]]
    version: str

    def says(self, name: str) -> bool:
        """Return whether the user gave it."""
        return name in self.given

    def text(self, name: str) -> str:
        """Return its value, else its default."""
        values = self.given.get(name, ())
        return values[0] if values else SETTINGS[name].option.default

    def integer(self, name: str) -> int:
        """Return its value, else its default, as a whole number."""
        return int(self.text(name))

    def value(self, name: str) -> object:
        """Return its value as MindIE's file has it."""
        kind, text = SETTINGS[name].option.kind, self.text(name)
        if kind is OptionKind.FLAG:
            return True
        if kind is OptionKind.INTEGER:
            return int(text)
        if kind is OptionKind.NUMBER:
            return float(text)
        return json.loads(text) if kind is OptionKind.JSON else text

    def section(self, section: Section) -> dict[str, object]:
        """Return the keys of a section that the user gave."""
        return {
            setting.key: self.value(name)
            for name, setting in SETTINGS.items()
            if setting.section is section and name in self.given
        }

    @property
    def swap_gib(self) -> int:
        """Return how much host memory the cache may be swapped to, as the scheduler claims it (A28)."""
        if self.says("max-preempt-count") and not self.integer("max-preempt-count"):
            return 0
        if self.says("cpu-mem-size"):
            return int(self.text("cpu-mem-size"))
        return 5 if is_early(self.version) else 0


def parameters_of(request: LaunchRequest) -> Parameters:
    """Return the parameters of a request that MindIE has."""
    given: dict[str, tuple[str, ...]] = {}
    for parameter in request.parameters:
        if parameter.known and parameter.option in SETTINGS:
            given.setdefault(parameter.option, parameter.values)
    return Parameters(given, request.backend_version)


def is_early(version: str) -> bool:
    """Return whether a version is before 2.1: its defaults are others (A28)."""
    numbers = [int(part) for part in version.split(".")[:2] if part.isdigit()]
    return len(numbers) == 2 and numbers < [2, 1]


def sequence_of(request: LaunchRequest, parameters: Parameters) -> int:
    """Return the tokens of a sequence: as the user or the placement says."""
    if parameters.says("max-seq-len"):
        return parameters.integer("max-seq-len")
    return request.context_length or DEFAULT_SEQUENCE


def contradictions(request: LaunchRequest, parameters: Parameters) -> Iterator[str]:
    """Yield what the manual rules out, and an option's own range cannot say."""
    sequence = sequence_of(request, parameters)
    for name in ("max-iter-times", "max-input-token-len"):
        if parameters.says(name) and parameters.integer(name) > sequence:
            yield f"--{name} is {parameters.text(name)}, and a sequence has {sequence} tokens; give as many at most"
    length = min(parameters.integer("max-input-token-len"), sequence) if parameters.says("max-input-token-len") else 1
    if parameters.says("max-prefill-tokens") and parameters.integer("max-prefill-tokens") < length:
        yield (
            f"--max-prefill-tokens is {parameters.text('max-prefill-tokens')}, less than an input of {length} tokens; "
            "raise it, or lower --max-input-token-len"
        )
    if parameters.says("max-preempt-count") and parameters.integer("max-preempt-count") and not parameters.swap_gib:
        yield (
            f"--max-preempt-count is {parameters.text('max-preempt-count')}, and preempted requests want host memory; "
            "give --cpu-mem-size in GiB, or leave it out"
        )
    if parameters.says("data-parallel-size") and parameters.integer("data-parallel-size") > 1:
        for name in ("enable-split", "enable-memory-decoding", "enable-lookahead"):
            if parameters.says(name):
                yield f"--{name} does not go with --data-parallel-size above 1; leave one of them out"
    for name in ("rope-scaling", "override-generation-config"):
        if parameters.says(name) and not isinstance(parameters.value(name), dict):
            yield f"--{name} is {parameters.text(name)[:80]}, and is a JSON object; e.g. '{{\"key\": 1}}'"
