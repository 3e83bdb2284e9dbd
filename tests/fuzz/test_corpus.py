from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz import calls
from tests.fuzz.seeds import methods
from tests.fuzz.targets import TARGETS, target

CORPUS = Path(__file__).parent / "corpus"
FILES = sorted(path for path in CORPUS.rglob("*") if path.is_file())


@pytest.fixture(autouse=True, scope="module")
def _nothing_stays() -> Iterator[None]:
    yield
    calls.close()


def test_every_corpus_has_a_target() -> None:
    """
    Each folder of the corpus is a target's, and each target has one.
    """
    assert sorted(TARGETS) == sorted(path.name for path in CORPUS.iterdir())


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
@pytest.mark.promise("P9")
def test_the_corpus_is_handled(path: Path) -> None:
    """
    What the fuzzer starts from, and what it once found, is read or refused.
    """
    target(path.parent.name)(path.read_bytes())


def test_every_method_has_a_first_request() -> None:
    """
    A new method is fuzzed from its first day on: `python -m tests.fuzz.seeds` writes what is missing.
    """
    written = {path.name for path in (CORPUS / "requests").iterdir()}

    assert {method.name for method in methods()} <= written
