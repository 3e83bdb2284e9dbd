"""What an option's table says of values: ranges, choices, and what two options may not say together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from motorpool_controller.domain.fleet import Option, OptionKind
from motorpool_controller.domain.names import printable, shown
from motorpool_controller.domain.workload import Parameter


def value_fault(option: Option, written: str, value: str) -> str:
    """Return what is wrong with a value of the option's kind, with the remedy; empty where nothing is."""
    if option.choices and value not in option.choices:
        return f"{shown(written)} is {shown(value)}, and it is one of {', '.join(option.choices)}; give one of these"
    if option.kind not in {OptionKind.INTEGER, OptionKind.NUMBER}:
        return ""
    number = float(value)
    outside = (
        (option.least is not None and number < option.least)
        or (option.most is not None and number > option.most)
        or (option.above is not None and number <= option.above)
    )
    if outside:
        return f"{shown(written)} is {printable(value)}, and it is {_range(option)}; give a number in that range"
    whole = int(value) if option.kind is OptionKind.INTEGER else 0
    if option.multiple_of and whole % option.multiple_of:
        return f"{shown(written)} is {printable(value)}, and it is a multiple of {option.multiple_of}; give one"
    if option.power_of_two and (whole < 1 or whole & (whole - 1)):
        return f"{shown(written)} is {printable(value)}, and it is a power of two; give 1, 2, 4, 8, …"
    return ""


def relation_faults(parameters: Sequence[Parameter], options: Sequence[Option]) -> Iterator[str]:
    """Yield what values that are each right say against one another."""
    table = {option.name: option for option in options}
    given = {parameter.option: parameter for parameter in reversed(parameters) if parameter.known}
    for name in given:
        option = table.get(name)
        if option is None:
            continue
        yield from _order_faults(option, table, given)
        for other in option.excludes:
            # Both may exclude each other: once is told.
            if other in given and (name < other or name not in table[other].excludes):
                yield f"--{name} does not go with --{other}; leave one of them out"


def _order_faults(option: Option, table: dict[str, Option], given: dict[str, Parameter]) -> Iterator[str]:
    above = [table[option.below]] if option.below in table else []
    # A pair of which both are given is told by the lower one.
    beneath = [each for each in table.values() if each.below == option.name and each.name not in given]
    for lower, upper in [*((option, each) for each in above), *((each, option) for each in beneath)]:
        low, high = _number(lower, given), _number(upper, given)
        if low is not None and high is not None and low >= high:
            yield (
                f"--{lower.name} is {low:g}{_by_default(lower, given)}, and it has to be less than --{upper.name}, "
                f"which is {high:g}{_by_default(upper, given)}; change one of them"
            )


def _number(option: Option, given: dict[str, Parameter]) -> float | None:
    values = given[option.name].values if option.name in given else ()
    try:
        return float(values[0] if values else option.default)
    except ValueError:
        return None


def _by_default(option: Option, given: dict[str, Parameter]) -> str:
    return "" if option.name in given else " by default"


def _range(option: Option) -> str:
    words = []
    if option.above is not None:
        words.append(f"above {option.above:g}")
    if option.least is not None:
        words.append(f"at least {option.least:g}")
    if option.most is not None:
        words.append(f"at most {option.most:g}")
    return " and ".join(words)
