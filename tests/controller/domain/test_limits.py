"""What an option's table says of values."""

import pytest

from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.domain.fleet import Option, OptionKind
from motorpool_controller.domain.parameters import parse

INTEGER, NUMBER, FLAG = OptionKind.INTEGER, OptionKind.NUMBER, OptionKind.FLAG
OPTIONS = (
    Option(name="fraction", kind=NUMBER, above=0, most=1),
    Option(name="links", kind=INTEGER, least=1, most=1000),
    Option(name="block", kind=INTEGER, power_of_two=True),
    Option(name="chunk", kind=INTEGER, least=1, most=8192, multiple_of=16),
    Option(name="level", choices=("Info", "Error"), default="Info"),
    Option(name="batch", aliases=("b",), kind=INTEGER, default="200"),
    Option(name="prefill", kind=INTEGER, default="50", below="batch"),
    Option(name="prefix", kind=FLAG, excludes=("split",)),
    Option(name="split", kind=FLAG, excludes=("prefix",)),
)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--fraction", "1"),
        ("--fraction=0.001",),
        ("--links", "1"),
        ("--links", "1000"),
        ("--block", "128"),
        ("--chunk", "8192"),
        ("--level", "Error"),
        ("--prefill", "199"),
        ("-b", "51"),
        ("--prefix",),
    ],
)
def test_what_is_within_is_taken(arguments: tuple[str, ...]) -> None:
    """
    The ends of a range belong to it, unless it says above.
    """
    assert parse(arguments, OPTIONS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--fraction", "0"), "“--fraction” is 0, and it is above 0 and at most 1"),
        (("--fraction=1.01",), "“--fraction” is 1.01"),
        (("--links", "0"), "at least 1 and at most 1000"),
        (("--block", "100"), "“--block” is 100, and it is a power of two"),
        (("--block", "0"), "power of two"),
        (("--chunk", "100"), "“--chunk” is 100, and it is a multiple of 16"),
        (("--level", "Loud"), "it is one of Info, Error"),
        (("--prefill", "200"), "--prefill is 200, and it has to be less than --batch, which is 200 by default"),
        (("--batch", "50"), "--prefill is 50 by default, and it has to be less than --batch, which is 50"),
        (("-b", "10", "--prefill", "10"), "--prefill is 10, and it has to be less than --batch, which is 10; change"),
        (("--prefix", "--split"), "--prefix does not go with --split; leave one of them out"),
    ],
)
def test_what_is_outside_is_refused_with_the_remedy(arguments: tuple[str, ...], words: str) -> None:
    """
    The field is the parameters', and the message names option, value and what it may be, once.
    """
    with pytest.raises(InvalidError) as caught:
        parse(arguments, OPTIONS)

    assert ("PARAMETER_INVALID", {"field": "spec.parameters"}) == (caught.value.reason, caught.value.metadata)
    assert words in caught.value.message
    assert 1 == caught.value.message.count(words)
    assert ";" in caught.value.message


def test_a_default_that_is_no_number_says_nothing() -> None:
    """
    A plugin's table is not trusted to make sense: nothing is compared with what is no number.
    """
    options = (Option(name="a", kind=INTEGER, below="b"), Option(name="b", default="many"))

    assert parse(("--a", "7"), options)
