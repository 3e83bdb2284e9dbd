from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.domain.parameters import integer_of, named, parse, unknown, value_of, without_meanings
from motorpool_controller.domain.workload import Parameter
from tests.controller.fleets import OPTIONS


def option(name: str, *values: str) -> Parameter:
    return Parameter(option=name, values=values)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--ctx-size", "4096"],
        ["--ctx-size 4096"],
        ["--ctx-size=4096"],
        ["--ctx_size=4096"],
        ["-c", "4096"],
        ["-c 4096"],
        ["--c=4096"],
        ["--ctx-size \\\n 4096"],
    ],
)
def test_spellings_of_an_option_are_one(arguments: list[str]) -> None:
    """
    However an option is written, it comes out under its canonical name (B1.4, A24).
    """
    assert (option("ctx-size", "4096"),) == parse(arguments, OPTIONS)


def test_first_value_wins_and_stands_alone() -> None:
    """
    Of an option that scheduling reads, the first value is taken, and it is the only one the engine gets.
    """
    parameters = parse(["-c", "4096", "--ctx-size", "9999"], OPTIONS)

    assert (option("ctx-size", "4096"),) == parameters
    assert integer_of(parameters, OPTIONS, "context_length") == 4096


def test_unknown_options_pass_as_written() -> None:
    """
    What the table does not know is passed on with its dashes and values, every time it occurs.
    """
    parameters = parse(["--lora_x", "a", "b", "--flag-y", "--lora_x=c"], OPTIONS)

    assert parameters == (
        Parameter(option="--lora_x", values=("a", "b"), known=False),
        Parameter(option="--flag-y", known=False),
        Parameter(option="--lora_x", values=("c",), known=False),
    )
    assert len(unknown(parameters, "llama_cpp")) == 3
    assert named(parameters, "lora-x") == ("a", "b")


@pytest.mark.parametrize(
    "arguments",
    [
        ['--chat-template-kwargs={"a b": [1, "x"]}'],
        ['--chat-template-kwargs {"a b": [1, "x"]}'],
        ["--chat-template-kwargs", '{"a b": [1, "x"]}'],
    ],
)
def test_json_is_left_whole(arguments: list[str]) -> None:
    """
    JSON keeps its quotation marks and spaces.
    """
    assert (option("chat-template-kwargs", '{"a b": [1, "x"]}'),) == parse(arguments, OPTIONS)


KWARGS = "--chat-template-kwargs"


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ([f"{KWARGS}.thinking", "false"], '{"thinking": false}'),
        ([f"{KWARGS}.a_b.c=word", f"{KWARGS}.a_b.d", "7"], '{"a_b": {"c": "word", "d": 7}}'),
        ([f"{KWARGS}.a", "1", KWARGS, '{"b": 2}'], '{"b": 2, "a": 1}'),
        ([KWARGS, '{"a": 2}', f"{KWARGS}.a", "[1]"], '{"a": [1]}'),
    ],
)
def test_keys_within_an_options_json(arguments: list[str], value: str) -> None:
    """
    As vLLM has it, a key may be given by a dotted name; what is read and launched is one JSON with all of them.
    """
    assert (option("chat-template-kwargs", value),) == parse(arguments, OPTIONS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([KWARGS, '{"a": 2}', f"{KWARGS}.a.b", "1"], "names no key within the JSON of --chat-template-kwargs"),
        ([f"{KWARGS}..b", "1"], "names no key"),
        ([KWARGS, "[1]", f"{KWARGS}.b", "1"], "names no key"),
        ([f"{KWARGS}{'.a' * 40}", "1"], "names no key"),
        ([f"{KWARGS}.b"], "wants one value"),
    ],
)
def test_keys_that_are_nowhere(arguments: list[str], said: str) -> None:
    """
    A key below what is no object, or no key at all, is refused with the way out.
    """
    with pytest.raises(InvalidError, match=said):
        parse(arguments, OPTIONS)


def test_negative_numbers_are_values() -> None:
    """
    -1 is a value, not an option.
    """
    assert (option("ctx-size", "-1"),) == parse(["-c", "-1"], OPTIONS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "80"], ("--port", "leave it out")),
        (["--_port=80"], ("option table",)),
        (["-m", "/x"], ("-m", "model")),
        (["--ctx-size"], ("--ctx-size", "wants a value")),
        (["--ctx-size", "many"], ("whole number", "many")),
        (["--ctx-size", "1", "2"], ("one too many",)),
        (["--metrics", "yes"], ("takes no value",)),
        (["--temp", "nan"], ("wants a number",)),
        (["--chat-template-kwargs", "{x}"], ("wants JSON",)),
        (["stray"], ("belongs to no option",)),
        (["--alias 'open"], ("quotation",)),
        (["--alias", "a\0b"], ("NUL",)),
        (["--ctx-size", "9" * 30], ("whole number",)),
    ],
)
def test_faults_name_the_argument_and_the_way_out(arguments: list[str], words: tuple[str, ...]) -> None:
    """
    A parameter that cannot be is refused by name, with what to do.
    """
    if arguments == ["--_port=80"]:
        assert unknown(parse(arguments, OPTIONS), "x")[0].count(words[0]) == 1
        return
    with pytest.raises(InvalidError) as caught:
        parse(arguments, OPTIONS)

    assert caught.value.reason == "PARAMETER_INVALID"
    assert all(word in caught.value.message for word in words)


def test_all_faults_are_named_at_once() -> None:
    """
    Who made two mistakes hears of both.
    """
    with pytest.raises(InvalidError, match=r"--port.*; .*--temp"):
        parse(["--port", "1", "--temp", "hot"], OPTIONS)


def test_values_stated_elsewhere_are_taken_out() -> None:
    """
    What the assignment states in fields of its own is not sent a second time.
    """
    parameters = parse(["-c", "1", "--metrics", "--x", "1"], OPTIONS)

    assert [p.option for p in without_meanings(parameters, OPTIONS, ("context_length",))] == ["metrics", "--x"]
    assert value_of(parameters, OPTIONS, "gpu_layers") is None


_WORDS = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["--ctx-size", "-c", "--port=1", "-", "--", "=", "--=", "-1", '--x={"', "--x 'y", "\\", "{" * 200]),
    st.builds(lambda name, value: f"--{name}={value}", st.text(max_size=8), st.text(max_size=8)),
    st.integers(min_value=0, max_value=20_000).map(lambda depth: "--chat-template-kwargs=" + "[" * depth),
)


@pytest.mark.promise("P9")
@given(st.lists(_WORDS, max_size=8))
def test_any_arguments_give_parameters_or_one_clear_error(arguments: list[str]) -> None:
    """
    No argument list is so strange that it does anything but parse or be refused as invalid.
    """
    try:
        parameters = parse(arguments, OPTIONS)
    except InvalidError:
        return
    assert parameters == parse(arguments, OPTIONS)
    assert not {"port", "model"} & {parameter.option for parameter in parameters if parameter.known}
