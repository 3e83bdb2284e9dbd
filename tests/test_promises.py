import pytest

from tests.promises import Promise, faults, read, table

HELD = Promise("P1", "It holds.", owed=None)
OWED = Promise("P2", "It will hold.", owed="The machine is not built.")


def test_agreement_has_no_fault() -> None:
    """
    A held promise with a test and an owed one without are as they should be.
    """
    assert [] == faults([HELD, OWED], {"P1": ["tests/test_a.py::test_a"]})


@pytest.mark.parametrize(
    ("tests", "words"),
    [
        ({}, "P1 has no test"),
        ({"P1": ["a"], "P2": ["b"]}, "P2 is owed, yet b holds it"),
        ({"P1": ["a"], "P9": ["c"]}, "P9 is no promise, yet c holds it"),
    ],
)
def test_disagreement_is_said(tests: dict[str, list[str]], words: str) -> None:
    """
    A promise without a test, a stale debt and an unknown number are each one fault.
    """
    (fault,) = faults([HELD, OWED], tests)

    assert words in fault


def test_table_shows_tests_and_debts() -> None:
    """
    The table names the tests that hold a promise and why another is owed.
    """
    assert [
        "P1  held  It holds.",
        "          - tests/test_a.py::test_a",
        "P2  owed  It will hold.",
        "          owed: The machine is not built.",
    ] == table([HELD, OWED], {"P1": ["tests/test_a.py::test_a"]})


def test_table_shows_what_is_missing_of_a_promise() -> None:
    """
    A promise that tests hold only in part says which part they do not.
    """
    partly = Promise("P1", "It holds.", owed=None, missing="The other half.")

    assert [
        "P1  part  It holds.",
        "          - tests/test_a.py::test_a",
        "          missing: The other half.",
    ] == table([partly], {"P1": ["tests/test_a.py::test_a"]})


def test_file_is_read_in_order() -> None:
    """
    Promises keep the order of the file; `owed` is optional.
    """
    assert [HELD, OWED] == read(
        '[P1]\nsentence = "It holds."\n[P2]\nsentence = "It will hold."\nowed = "The machine is not built."\n'
    )
