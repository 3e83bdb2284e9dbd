"""YAML along the API's fields: what is taken, and every fault with its line."""

from textwrap import dedent

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from motorpool import v1
from motorpool_cli import documents
from motorpool_cli.documents import MOST_BYTES, MOST_DOCUMENTS, Document


def filled(text: str) -> tuple[v1.BackendDeclaration, list[str]]:
    """Return the message of the one document, and what was wrong with it."""
    (document,), wrong = documents.read("a.yaml", dedent(text).encode())
    assert [] == wrong
    message = v1.BackendDeclaration()
    document.fill(message, skip=("name",))
    return message, [str(problem) for problem in document.problems]


def test_every_kind_of_field() -> None:
    """
    Texts as they are written, sizes, times, command lines, tables, lists, switches and words for enumerations.
    """
    message, problems = filled(
        """
        name: echo
        description: |
          Two
          lines
        start_timeout: 2m
        stop_grace: 7
        claim: {memory_bytes: 1.5GiB, device_memory_bytes: 1000}
        options: [{option: n, kind: integer, system_owned: yes}, {option: x, kind: OPTION_KIND_JSON}]
        versions:
        - version: 1.0
          command: /opt/echo --say 'two words' "{{port}}"
          env: {DEBUG: true, LEVEL: 3, EMPTY: , NO: no}
          container_port: 8080
          frameworks:
          - cpu
          image:
        """
    )

    assert [] == problems
    assert {
        "description": "Two\nlines\n",
        "startTimeout": "120s",
        "stopGrace": "7s",
        "claim": {"memoryBytes": str(3 << 29), "deviceMemoryBytes": "1000"},
        "options": [
            {"option": "n", "kind": "OPTION_KIND_INTEGER", "systemOwned": True},
            {"option": "x", "kind": "OPTION_KIND_JSON"},
        ],
        "versions": [
            {
                "version": "1.0",
                "command": ["/opt/echo", "--say", "two words", "{{port}}"],
                "env": {"DEBUG": "true", "LEVEL": "3", "EMPTY": "", "NO": "no"},
                "containerPort": 8080,
                "frameworks": ["cpu"],
            }
        ],
    } == MessageToDict(message)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("helth_path: /x", "a.yaml:1: helth_path: there is no such field; did you mean health_path?"),
        ("\n\nzzz: 1", "a.yaml:3: zzz: there is no such field; there is name, description, aliases"),
        ("aliases: parrot", "a.yaml:1: aliases: a single value stands where a list is wanted"),
        ("aliases: {a: b}", "a.yaml:1: aliases: a table stands where a list is wanted"),
        ("description: [a]", "a.yaml:1: description: a list stands where a single value is wanted"),
        ("claim: 3GiB", "a.yaml:1: claim: a single value stands where fields are wanted"),
        ("- a\n- b", "a.yaml:1: a list stands where fields are wanted"),
        ("just words", "a.yaml:1: a single value stands where fields are wanted"),
        ("claim:\n  memory_bytes: much", "a.yaml:2: claim.memory_bytes: 'much' is no size; write e.g. 6GiB"),
        ("stop_grace: soon", "a.yaml:1: stop_grace: 'soon' is no length of time; write e.g. 90s"),
        ("stop_grace: -3s", "a.yaml:1: stop_grace: '-3s' is no length of time"),
        ("versions: [{container_port: many}]", "a.yaml:1: versions[0].container_port: 'many' is no whole number"),
        ("versions: [{container_port: 99999999999}]", "a.yaml:1: versions[0].container_port: '99999999999' is no"),
        ("versions:\n- command: echo 'open", "a.yaml:2: versions[0].command: it cannot be split into arguments"),
        ("options: [{system_owned: maybe}]", "a.yaml:1: options[0].system_owned: 'maybe' is neither true nor false"),
        ("options: [{kind: color}]", "a.yaml:1: options[0].kind: 'color' is none of flag, string, integer"),
        ("health_path: /a\nhealth_path: /b", "a.yaml:2: health_path: it is there twice"),
        ("versions: [{env: [A]}]", "a.yaml:1: versions[0].env: a list stands where fields are wanted"),
        ("versions: [{env: {A: [b]}}]", "a.yaml:1: versions[0].env.A: a list stands where a single value is wanted"),
        ("versions: [{command: [a, [b]]}]", "a.yaml:1: versions[0].command[1]: a list stands where a single value"),
        (
            "name: x\nhealth_path: {{path}}",
            "a.yaml:2: health_path: {{path}} without quotation marks is a table to YAML;",
        ),
        (
            "versions: [{command: [a, {{ port }}]}]",
            "a.yaml:1: versions[0].command[1]: {{port}} without quotation marks",
        ),
        ("versions: [{command: {{port}}}]", "a.yaml:1: versions[0].command: {{port}} without quotation marks"),
        ("<<: words", "a.yaml:1: <<: a single value stands where fields are wanted; write <<: *anchor"),
        ("versions: [a]", "a.yaml:1: versions[0]: a single value stands where fields are wanted"),
        ("{[a]: b}", "a.yaml:1: a list stands where a single value is wanted"),
    ],
)
def test_faults_name_line_field_value_and_remedy(text: str, expected: str) -> None:
    """
    Each in one line.
    """
    _, problems = filled(text)

    assert problems[0].startswith(expected), problems


def test_merge_keys() -> None:
    """
    What is merged stands behind what is there already; what merges itself adds nothing.
    """
    message, problems = filled(
        """
        versions:
        - &one {version: 1.0, command: /opt/echo, env: {A: a}}
        - &two {<<: *one, version: 1.1}
        - {<<: [*two, *one], image: echo, env: {}}
        - &self {version: 1.3, <<: *self}
        """
    )

    assert [] == problems
    assert ["1.0", "1.1", "1.1", "1.3"] == [version.version for version in message.versions]
    assert [["/opt/echo"]] * 3 + [[]] == [list(version.command) for version in message.versions]
    assert [{"A": "a"}, {"A": "a"}, {}, {}] == [dict(version.env) for version in message.versions]


def test_a_template_without_quotation_marks_gets_its_remedy() -> None:
    """
    Where YAML stumbles over the braces themselves, too.
    """
    _, (problem,) = documents.read("a.yaml", b"command: {{port}} x")

    assert str(problem).endswith("put what holds {{ }} into quotation marks")


def test_all_faults_are_found() -> None:
    """
    The first does not hide the second.
    """
    _, problems = filled("aliases: a\nzzz: 1\nclaim: {memory_bytes: x}\nversions:\n- version: 1\n  image: [a]\n")

    assert [1, 2, 3, 6] == [int(problem.split(":")[1]) for problem in problems]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a: [1", "a.yaml:1: it is not YAML: "),
        (b"a: b\n  c: d\n", "a.yaml:2: it is not YAML: mapping values are not allowed here"),
        (b"a: 1\nb: \xff\n", "a.yaml:2: it is not UTF-8 text"),
        (b"\x00", "a.yaml:1: it is not YAML: "),
        (b"a: 1\nb: {{port}} x", "a.yaml:2: it is not YAML: expected <block end>, but found "),
        (b"a: *nowhere", "a.yaml:1: it is not YAML: found undefined alias"),
        (b"a: " + b"[" * 5000, "a.yaml:1: it is not YAML: it is nested too deeply"),
        (b"#" * (MOST_BYTES + 1), "a.yaml:1: the file is larger than"),
        (b"---\na: 1\n" * (MOST_DOCUMENTS + 1), "a.yaml:402: more than 200 documents"),
    ],
)
def test_what_is_no_yaml(content: bytes, expected: str) -> None:
    """
    It is told with its line, and what came before it is kept.
    """
    _, (problem,) = documents.read("a.yaml", content)

    assert str(problem).startswith(expected), problem


def test_several_documents() -> None:
    """
    Empty ones are left out; lines count on through the file.
    """
    found, wrong = documents.read("a.yaml", b"---\na: 1\n---\n---\n# nothing\n---\nb: 2\n")

    assert [] == wrong
    assert [["a"], ["b"]] == [list(document.fields()) for document in found]
    assert [2, 7] == [document.line("") for document in found]


def test_an_anchor_is_the_same_again() -> None:
    """
    What YAML lets one write once stands in both places, and a loop in it is an ordinary fault.
    """
    message, problems = filled("versions:\n- &v {version: '1', command: [a]}\n- *v\naliases: &a [x, *a]\n")

    assert ["a"] == list(message.versions[1].command)
    assert ["a.yaml:4: aliases[1]: a list stands where a single value is wanted; write it in one line"] == problems


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    """
    Whatever is in a file, there is an answer in words.
    """
    found, wrong = documents.read("a.yaml", content)
    for document in found:
        document.fill(v1.BackendDeclaration())
        wrong += document.problems

    assert all(problem.line >= 1 and problem.message for problem in wrong)


def test_a_field_that_is_not_in_the_file_has_the_line_of_what_it_is_in() -> None:
    """
    What the controller says of a field that was left out is told where it would be.
    """
    (document,), _ = documents.read("a.yaml", b"a: 1\nversions:\n- version: x\n- version: y\n")
    document.fill(v1.BackendDeclaration())

    assert isinstance(document, Document)
    assert [4, 4, 2, 1] == [
        document.line(path)
        for path in ("versions[1].command[3]", "versions[1].version", "versions", "claim.memory_bytes")
    ]
