from pathlib import Path

import pytest

from motorpool_controller.catalog.model_scope import ModelScope
from motorpool_controller.domain.errors import DomainError
from motorpool_controller.domain.workload import SourceKind
from tests.controller.catalog.asking import Asker
from tests.hub.contents import large_gguf
from tests.hub.server import LocalHub
from tests.models.tiny_gguf import make_tiny_gguf

SCOPE = SourceKind.MODEL_SCOPE


@pytest.fixture(name="tiny")
def _tiny(tmp_path: Path, hub: LocalHub) -> Path:
    path = make_tiny_gguf(tmp_path / "tiny.gguf")
    hub.add("o/n", {"sub/tiny.gguf": path, "README.md": b"A model."})
    return path


def test_only_the_header_travels(asker: Asker, hub: LocalHub, tmp_path: Path) -> None:
    """
    Of a model with 50 MiB of weights, little more than its header is sent.
    """
    content, header_bytes = large_gguf(tmp_path)
    hub.add("o/n", {"m.gguf": content})

    known = asker.read(kind=SCOPE)

    assert "large" == known.facts.name
    assert header_bytes <= hub.body_bytes <= 2 * header_bytes + (1 << 20)


def test_file_in_a_folder(asker: Asker, tiny: Path) -> None:
    """
    A file is named by its path in the repository.
    """
    assert "tiny-random-llama" == asker.read(kind=SCOPE, file="sub/tiny.gguf").facts.name


def test_what_is_known_follows_the_content(asker: Asker, hub: LocalHub, tiny: Path) -> None:
    """
    The same content is not read again; a branch that moved on is.
    """
    first = asker.read(kind=SCOPE, file="sub/tiny.gguf")
    requests = len(hub.seen)
    again = asker.read(kind=SCOPE, file="sub/tiny.gguf")
    assert (first.commit, requests + 1) == (again.commit, len(hub.seen))

    hub.add("o/n", {"sub/tiny.gguf": tiny, "new": b"!"})
    assert first.commit != asker.read(kind=SCOPE, file="sub/tiny.gguf").commit


def test_token_stays_with_the_hub(asker: Asker, hub: LocalHub, tmp_path: Path) -> None:
    """
    Neither header nor cookie go to the host that the hub redirects to.
    """
    content, _ = large_gguf(tmp_path)
    hub.add("o/n", {"m.gguf": content}, tokens=frozenset({"secret"}))

    asker.read(kind=SCOPE, token="secret")

    carried = {seen.large: (seen.headers.get("authorization"), seen.headers.get("cookie")) for seen in hub.seen}
    assert {False: ("Bearer secret", "m_session_id=secret"), True: (None, None)} == carried


@pytest.mark.parametrize(
    ("asked", "reason", "missing"),
    [
        ({"repository": "o/none"}, "MODEL_NOT_FOUND", "repository"),
        ({"revision": "v9"}, "MODEL_NOT_FOUND", "revision"),
    ],
)
def test_what_is_not_there_is_named(asker: Asker, tiny: Path, asked: dict[str, str], reason: str, missing: str) -> None:
    """
    Repository and revision are told apart, though the hub says the one by a status and the other in a body.
    """
    with pytest.raises(DomainError) as caught:
        asker.read(asked.get("repository", "o/n"), revision=asked.get("revision", ""), kind=SCOPE)

    assert (reason, {"missing": missing}) == (caught.value.reason, caught.value.metadata)
    assert "ModelScope" in caught.value.message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"Code": 200}',
        b'{"Code": 7, "Message": "no"}',
        b'{"Code": 200, "Data": {"Files": [{"Size": 5}]}}',
        b'{"Code": 200, "Data": {"Files": [{"Path": "a", "Size": -5}]}}',
        b"[" * 100_000,
    ],
)
@pytest.mark.promise("P9")
def test_listing_that_is_none(asker: Asker, hub: LocalHub, body: bytes) -> None:
    """
    Whatever stands in place of a listing gives a sentence.
    """
    hub.trouble("GET /api/v1", status=200, body=body)

    with pytest.raises(DomainError) as caught:
        asker.read(kind=SCOPE)

    assert "HUB_ANSWER_INVALID" == caught.value.reason


def test_listing_that_was_cut_is_not_taken_for_whole(asker: Asker, hub: LocalHub, tiny: Path) -> None:
    """
    ModelScope lists 3,000 files at most and does not say so: such a repository is refused, not read in part.
    """
    hub.add("o/many", {f"{number}.txt": b"" for number in range(3_000)})

    with pytest.raises(DomainError) as caught:
        asker.read("o/many", kind=SCOPE)

    assert "3000" in caught.value.message


def test_variables() -> None:
    """
    MODELSCOPE_ENDPOINT names the hub, with or without a scheme.
    """
    for expected, environment in (
        ("https://www.modelscope.cn", {}),
        ("https://scope.example", {"MODELSCOPE_ENDPOINT": "scope.example/"}),
    ):
        scope = ModelScope(environment=environment)
        assert expected == scope.endpoint
        scope.close()
