"""An engine's extra arguments, parsed once against its profile's option table.

Rule A24. An element that begins with an option is split as a shell would (JSON is left whole);
any other element is one value. Dashes and underscores are equal, leading dashes do not matter, the first value wins.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Sequence

from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.domain.fleet import Option, OptionKind
from motorpool_controller.domain.limits import relation_faults, value_fault
from motorpool_controller.domain.names import printable, shown
from motorpool_controller.domain.workload import Parameter

STATED = ("context_length", "parallel", "gpu_layers", "nodes")
"""Meanings whose values the assignment states itself; the user's parameters for them are not sent a second time."""

MAX_DEPTH = 16
"""How deep ``--name.key.key`` may reach into an option's JSON."""
MAX_ELEMENTS = 1_000
MAX_ELEMENT_CHARACTERS = 65_536
MAX_INTEGER_DIGITS = 18

_NUMBER = re.compile(r"-(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_INTEGER = re.compile(r"[+-]?\d+")
_CONTINUATION = re.compile(r"\\\r?\n")


def parse(arguments: Sequence[str], options: Sequence[Option]) -> tuple[Parameter, ...]:
    """Return the typed parameters; raise PARAMETER_INVALID naming every argument at fault and what to do about it.

    An option of the table gets its canonical name and stands once if it has a meaning, so that the engine takes the
    very value that scheduling took. An option that is not in the table is passed on as written.
    ``--name.key.key VALUE`` sets a key within the JSON of an option (vLLM's way), whose value then holds both.
    """
    faults: list[str] = []
    table = _table(options)
    parsed: list[Parameter] = []
    taken: set[str] = set()
    keys: list[tuple[Option, str, tuple[str, ...]]] = []
    for written, values in _grouped(_tokens(arguments, faults), faults):
        option = table.get(_key(written))
        name, _, path = written.partition(".")
        within = table.get(_key(name)) if path and option is None else None
        if within is not None and within.kind is OptionKind.JSON and not within.system_owned:
            keys.append((within, written, values))
            continue
        if option is None:
            parsed.append(Parameter(option=written, values=values, known=False))
            continue
        fault = _fault(option, written, values)
        if fault:
            faults.append(fault)
        elif not option.meaning or option.name not in taken:
            taken.add(option.name)
            parsed.append(Parameter(option=option.name, values=values))
    faults += [fault for key in keys if (fault := _set_within(parsed, *key))]
    if not faults:
        faults += relation_faults(parsed, options)
    if faults:
        raise InvalidError("PARAMETER_INVALID", "; ".join(faults), metadata={"field": "spec.parameters"})
    return tuple(parsed)


def value_of(parameters: Iterable[Parameter], options: Iterable[Option], meaning: str) -> str | None:
    """Return the value that the user gave to the option of this meaning; None when there is none."""
    named = {option.name for option in options if option.meaning == meaning}
    return next((p.values[0] for p in parameters if p.known and p.option in named and p.values), None)


def has(parameters: Iterable[Parameter], options: Iterable[Option], meaning: str) -> bool:
    """Return whether the user gave the option of this meaning, with a value or without."""
    named = {option.name for option in options if option.meaning == meaning}
    return any(parameter.known and parameter.option in named for parameter in parameters)


def integer_of(parameters: Iterable[Parameter], options: Iterable[Option], meaning: str) -> int | None:
    """Return ``value_of`` as a number; None also when it is none (``-ngl all``)."""
    value = value_of(parameters, options, meaning)
    return int(value) if value is not None and _is_integer(value) else None


def named(parameters: Iterable[Parameter], *names: str) -> tuple[str, ...] | None:
    """Return the values of the first parameter with one of these option names, known or not; None without one."""
    keys = {_key(name) for name in names}
    return next((parameter.values for parameter in parameters if _key(parameter.option) in keys), None)


def without_meanings(
    parameters: Iterable[Parameter], options: Iterable[Option], meanings: Collection[str]
) -> tuple[Parameter, ...]:
    """Return the parameters but for those of options with one of these meanings."""
    dropped = {option.name for option in options if option.meaning in meanings}
    return tuple(parameter for parameter in parameters if not parameter.known or parameter.option not in dropped)


def replaced(arguments: Sequence[str], options: Sequence[Option], name: str, value: str) -> tuple[str, ...]:
    """Return the arguments with this value of an option, by whatever name of it they gave another one before."""
    of_table = _table(options).get(_key(name))
    names = (name,) if of_table is None else (of_table.name, *of_table.aliases)
    keys = {_key(each) for each in names}
    kept: list[str] = []
    dropping = False
    for argument in arguments:
        left: list[str] = []
        words = list(_split(argument, []))
        for word in words:
            if _is_option(word):
                dropping = _key(word.partition("=")[0]) in keys
            if not dropping:
                left.append(word)
        kept += [argument] if left == words else [shlex.join(left)] if left else []
    return (*kept, f"--{_key(name)}", value)


def unknown(parameters: Iterable[Parameter], backend: str) -> tuple[str, ...]:
    """Return one remark for each option that is passed on without being understood."""
    return tuple(
        f"{shown(parameter.option)} is not in the option table of {backend}; it is passed on as written"
        for parameter in parameters
        if not parameter.known
    )


def refuse_unknown(parameters: Iterable[Parameter], backend: str) -> None:
    """Raise PARAMETER_INVALID naming every option that a backend has not, which takes no others."""
    faults = [
        f"{shown(parameter.option)} is no parameter of {backend}, which takes no others than those that `motorpool "
        f"backends describe {backend}` shows; leave it out"
        for parameter in parameters
        if not parameter.known
    ]
    if faults:
        raise InvalidError("PARAMETER_INVALID", "; ".join(faults), metadata={"field": "spec.parameters"})


def _tokens(arguments: Sequence[str], faults: list[str]) -> Iterator[str]:
    if len(arguments) > MAX_ELEMENTS:
        faults.append(f"there are {len(arguments)} parameters, and {MAX_ELEMENTS} is the most; give fewer")
        return
    for argument in arguments:
        if len(argument) > MAX_ELEMENT_CHARACTERS:
            faults.append(
                f"{shown(argument)} has {len(argument)} characters, and {MAX_ELEMENT_CHARACTERS} is the most; put"
                " it into a file"
            )
        elif "\0" in argument:
            faults.append(f"{shown(argument)} holds a NUL character, which no command line can carry; remove it")
        else:
            yield from _split(argument, faults)


def _split(argument: str, faults: list[str]) -> Iterator[str]:
    text = _CONTINUATION.sub(" ", argument).strip()
    first, rest = [*text.split(None, 1), "", ""][:2]
    if not _is_option(first):
        yield argument
        return
    name, equals, value = text.partition("=")
    if equals and name == first.partition("=")[0] and value.lstrip()[:1] in {"{", "["}:
        yield f"{name}={value.strip()}"
        return
    if rest[:1] in {"{", "["}:
        yield first
        yield rest
        return
    try:
        yield from shlex.split(text)
    except ValueError as error:  # an open quotation mark, or a backslash at the end
        faults.append(f"{shown(argument)} cannot be split into words ({error}); close the quotation marks")


def _grouped(tokens: Iterable[str], faults: list[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    written = ""
    values: list[str] = []
    for token in tokens:
        if _is_option(token):
            if written:
                yield written, tuple(values)
            written, equals, value = token.partition("=")
            values = [value] if equals else []
        elif written:
            values.append(token)
        else:
            faults.append(
                f"{shown(token)} belongs to no option; parameters are options with their values, e.g. --name value"
            )
    if written:
        yield written, tuple(values)


def _set_within(parsed: list[Parameter], option: Option, written: str, values: Sequence[str]) -> str:
    """Set a key within an option's JSON, among what was parsed; return what is wrong with it, empty if nothing is."""
    if len(values) != 1:
        return f"{shown(written)} wants one value; write {printable(written)} VALUE"
    at = next((index for index, each in enumerate(parsed) if each.option == option.name and each.known), len(parsed))
    whole: object = json.loads(parsed[at].values[0]) if at < len(parsed) else {}
    inner, path = whole, written.split(".")[1:]
    for key in path[:-1]:
        inner = inner.setdefault(key, {}) if isinstance(inner, dict) else None
    if not isinstance(inner, dict) or not all(path) or len(path) > MAX_DEPTH:
        return (
            f"{shown(written)} names no key within the JSON of --{option.name}; give it whole, as --{option.name} JSON"
        )
    inner[path[-1]] = json.loads(values[0]) if _is_json(values[0]) else values[0]
    parsed[at:] = [Parameter(option=option.name, values=(json.dumps(whole),)), *parsed[at + 1 :]]
    return ""


def _fault(option: Option, written: str, values: tuple[str, ...]) -> str:
    name, written = shown(written), printable(written)
    if option.system_owned:
        return f"{name} is set by Motorpool ({option.name}) and cannot be given; leave it out"
    if option.kind is OptionKind.FLAG:
        return f"{name} takes no value, and {shown(values[0])} was given; write {written} alone" if values else ""
    if not values:
        return f"{name} wants a value; write {written} VALUE"
    if option.kind is not OptionKind.STRING and len(values) > 1:
        return f"{name} takes one value, and {shown(values[1])} is one too many; remove it"
    if option.kind is OptionKind.INTEGER and not _is_integer(values[0]):
        return f"{name} wants a whole number, and {shown(values[0])} is none; e.g. {written} 4096"
    if option.kind is OptionKind.NUMBER and not _is_number(values[0]):
        return f"{name} wants a number, and {shown(values[0])} is none; e.g. {written} 0.5"
    if option.kind is OptionKind.JSON and not _is_json(values[0]):
        return f"{name} wants JSON, and {shown(values[0])} is none; e.g. {written} '{{\"key\": 1}}'"
    return value_fault(option, written, values[0])


def _table(options: Sequence[Option]) -> dict[str, Option]:
    table: dict[str, Option] = {}
    for option in options:
        for name in (option.name, *option.aliases):
            table.setdefault(_key(name), option)
    return table


def _key(name: str) -> str:
    return name.lstrip("-").replace("_", "-")


def _is_option(token: str) -> bool:
    return token.startswith("-") and bool(token.partition("=")[0].strip("-")) and _NUMBER.fullmatch(token) is None


def _is_integer(text: str) -> bool:
    return len(text) <= MAX_INTEGER_DIGITS + 1 and text.isascii() and _INTEGER.fullmatch(text) is not None


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
