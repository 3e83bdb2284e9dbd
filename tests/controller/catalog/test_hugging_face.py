import json
import threading
from pathlib import Path

import pytest
from huggingface_hub import constants

from motorpool_controller.domain.errors import (
    DomainError,
    InvalidError,
    NotFoundError,
    PreconditionError,
    UnavailableError,
)
from tests.controller.catalog.asking import Asker
from tests.hub.contents import Content, large_gguf, safetensors
from tests.hub.server import LocalHub
from tests.models.tiny_gguf import make_tiny_gguf


@pytest.fixture(name="tiny")
def _tiny(tmp_path: Path, hub: LocalHub) -> Path:
    path = make_tiny_gguf(tmp_path / "tiny.gguf")
    hub.add("o/n", {"tiny.gguf": path, "README.md": b"A model."})
    return path


def refused(asker: Asker, repository: str = "o/n", **how: object) -> DomainError:
    """Return why a look-up failed."""
    with pytest.raises(DomainError) as caught:
        asker.read(repository, **how)  # type: ignore[arg-type]
    return caught.value


def test_only_the_header_travels(asker: Asker, hub: LocalHub, tmp_path: Path) -> None:
    """
    Of a model with 50 MiB of weights, little more than its header is sent, wherever the hub keeps large files.
    """
    content, header_bytes = large_gguf(tmp_path)
    hub.add("o/n", {"m.gguf": content})

    known = asker.read()

    assert ("large", "gguf") == (known.facts.name, known.facts.format)
    assert content.large
    assert any(seen.large for seen in hub.seen)
    assert header_bytes <= hub.body_bytes <= 3 * header_bytes
    assert hub.body_bytes < content.size / 20
    assert hub.body_bytes == known.spent.fetched_bytes
    assert len(hub.seen) == known.spent.requests


def test_long_header_takes_few_requests(asker: Asker, hub: LocalHub, tmp_path: Path) -> None:
    """
    Ranges grow as a reader goes on: a header of 6 MB takes no request for every MiB.
    """
    content, header_bytes = large_gguf(tmp_path, tokens=230_000)
    hub.add("o/n", {"m.gguf": content})

    asker.read()

    ranges = [seen for seen in hub.seen if seen.large]
    assert header_bytes > 6_000_000
    assert len(ranges) <= 5
    assert hub.body_bytes <= 3 * header_bytes


def test_a_safetensors_model_in_many_parts(asker: Asker, hub: LocalHub) -> None:
    """
    Of 800 MB in forty parts the headers are fetched, each with one request, and every layer is known.
    """
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 256,
        "intermediate_size": 40_000,
        "num_hidden_layers": 40,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
        "vocab_size": 1000,
        "max_position_embeddings": 4096,
        "torch_dtype": "bfloat16",
    }
    parts = {
        f"model-{number + 1:05}-of-00040.safetensors": {
            f"model.layers.{number}.mlp.up_proj.weight": ("BF16", (40_000, 256), 40_000 * 256 * 2)
        }
        for number in range(40)
    }
    index = {"weight_map": {tensor: name for name, tensors in parts.items() for tensor in tensors}}
    files = {name: safetensors(tensors) for name, tensors in parts.items()}
    documents = {"config.json": config, "model.safetensors.index.json": index}
    hub.add("o/n", {**files, **{name: json.dumps(document).encode() for name, document in documents.items()}})

    known = asker.read()

    assert ("safetensors", 40) == (known.facts.format, known.facts.layers)
    assert 40 * 40_000 * 256 * 2 == known.facts.weight_bytes
    assert hub.body_bytes < 40 * (128 << 10) + (64 << 10)
    assert 40 == len([seen for seen in hub.seen if seen.large])


def test_token_stays_with_the_hub(asker: Asker, hub: LocalHub, tmp_path: Path) -> None:
    """
    The token goes to the hub and not to the host that it redirects to.
    """
    content, _ = large_gguf(tmp_path)
    hub.add("o/n", {"m.gguf": content}, tokens=frozenset({"secret"}))

    asker.read(token="secret")

    assert {False: "Bearer secret", True: None} == {seen.large: seen.headers.get("authorization") for seen in hub.seen}


def test_token_of_the_environment(asker: Asker, hub: LocalHub, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    HF_TOKEN is the token where none is given.
    """
    hub.repositories["o/n"].tokens = frozenset({"secret"})
    monkeypatch.setenv("HF_TOKEN", "secret")

    assert "tiny-random-llama" == asker.read().facts.name


def test_commit_and_branch(asker: Asker, hub: LocalHub, tiny: Path) -> None:
    """
    A revision is a branch or a commit, and what is known of it says which commit it is.
    """
    repository = hub.repositories["o/n"]
    older = repository.branches["main"]
    newer = repository.commit({"other.gguf": tiny}, "next")

    assert older == asker.read().commit
    assert newer == asker.read(revision="next").commit
    assert ("tiny.gguf",) == asker.read(revision=older).facts.files


def test_revision_with_a_slash(asker: Asker, hub: LocalHub, tiny: Path) -> None:
    """
    A revision like refs/pr/1 is one revision, and no path.
    """
    hub.repositories["o/n"].branches["refs/pr/1"] = hub.repositories["o/n"].branches["main"]

    assert hub.repositories["o/n"].branches["main"] == asker.read(revision="refs/pr/1").commit


def test_file_in_a_folder_with_odd_characters(asker: Asker, hub: LocalHub, tiny: Path) -> None:
    """
    A file's name is quoted on its way.
    """
    hub.add("o/odd", {"a b/ä#?%.gguf": tiny})

    assert "tiny-random-llama" == asker.read("o/odd", file="a b/ä#?%.gguf").facts.name


def test_nothing_of_the_request_is_logged(
    asker: Asker, hub: LocalHub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """
    Neither the token nor addresses that are signed for us alone reach the log, at debug level either.
    """
    content, _ = large_gguf(tmp_path)
    hub.add("o/n", {"m.gguf": content}, tokens=frozenset({"secret-token"}))

    with caplog.at_level("DEBUG"):
        asker.read(token="secret-token")

    assert "secret-token" not in caplog.text
    assert "signature=" not in caplog.text


# --- what hubs refuse


def test_unknown_repository(asker: Asker, tiny: Path) -> None:
    """
    A repository that the hub does not have is named, and to whom strangers' repositories may be hidden, too.
    """
    with_token = refused(asker, "o/none", token="some")
    without = refused(asker, "o/none")

    assert isinstance(with_token, NotFoundError)
    assert ("MODEL_NOT_FOUND", {"missing": "repository"}) == (with_token.reason, with_token.metadata)
    assert "“o/none”" in with_token.message
    assert "HUB_TOKEN_MISSING" == without.reason
    assert "HF_TOKEN" in without.message
    assert "no such repository" in without.message


def test_wrong_token(asker: Asker, hub: LocalHub, tiny: Path) -> None:
    """
    A token that the hub does not know is named by its variable, and not shown.
    """
    hub.repositories["o/n"].tokens = frozenset({"secret"})

    error = refused(asker, token="wrong")

    assert "HUB_TOKEN_INVALID" == error.reason
    assert "HF_TOKEN" in error.message
    assert "wrong," in error.message  # "it is wrong, expired": a word, and not the token
    assert "Bearer" not in error.message


@pytest.mark.parametrize("token", ["", "stranger"])
def test_gated_model(asker: Asker, hub: LocalHub, tiny: Path, token: str) -> None:
    """
    A gated model is called one, whether there is a token or not, and the page to ask at is the hub's.
    """
    hub.repositories["o/n"].gated = frozenset({"friend"})

    error = refused(asker, token=token)

    assert "MODEL_GATED" == error.reason
    assert "gated model" in error.message
    assert "HF_TOKEN" in error.message
    assert hub.endpoint in error.message
    assert "tiny-random-llama" == asker.read(token="friend").facts.name


def test_unknown_revision(asker: Asker, tiny: Path) -> None:
    """
    A revision that the repository does not have is named.
    """
    error = refused(asker, revision="v9")

    assert ("MODEL_NOT_FOUND", {"missing": "revision"}) == (error.reason, error.metadata)
    assert "“v9”" in error.message


def test_unknown_file(asker: Asker, tiny: Path) -> None:
    """
    A file that the repository does not have is an error that names the repository.
    """
    error = refused(asker, file="none.gguf")

    assert "MODEL_NOT_FOUND" == error.reason
    assert "o/n" in error.message


def test_file_that_went_after_it_was_listed(asker: Asker, hub: LocalHub, tiny: Path) -> None:
    """
    A file that is listed and then not there is named.
    """
    hub.trouble("GET /o/n/resolve/", status=404, headers={"X-Error-Code": "EntryNotFound"})

    error = refused(asker)

    assert ("MODEL_NOT_FOUND", {"missing": "file"}) == (error.reason, error.metadata)
    assert "“tiny.gguf”" in error.message


def test_forbidden(asker: Asker, hub: LocalHub, tiny: Path) -> None:
    """
    A 403 that is no gate says what the hub says.
    """
    hub.trouble("GET /api", status=403, headers={"X-Error-Message": "your organisation forbids this"})

    error = refused(asker, token="secret")

    assert "HUB_FORBIDDEN" == error.reason
    assert "your organisation forbids this" in error.message


def test_name_that_the_library_refuses(asker: Asker, tiny: Path) -> None:
    """
    A name that no repository can have is the caller's mistake, and asks nobody.
    """
    error = refused(asker, "o/n--m")

    assert isinstance(error, InvalidError)
    assert [] == asker.hub.seen


# --- what fails for now


def test_busy_hub_is_asked_when_it_says(asker: Asker, hub: LocalHub, tiny: Path) -> None:
    """
    After a 429 the hub is asked again in as many seconds as it says, and not before.
    """
    hub.trouble("GET /api", status=429, headers={"Retry-After": "7"})

    assert "tiny-random-llama" == asker.read().facts.name
    assert [7.0] == asker.paused


@pytest.mark.parametrize("seconds", [16, 600])
def test_busy_hub_that_wants_much_time(asker: Asker, hub: LocalHub, tiny: Path, seconds: int) -> None:
    """
    A hub that wants to be left alone for long is not waited for, though there is time; the caller is told how long.
    """
    hub.trouble("GET /api", status=429, headers={"Retry-After": str(seconds)})

    error = refused(asker)

    assert isinstance(error, UnavailableError)
    assert f"in {seconds} s" in error.message
    assert ("HUB_BUSY", float(seconds)) == (error.reason, error.retry_seconds)
    assert [] == asker.paused


def test_failing_hub_is_asked_again_and_then_named(asker: Asker, hub: LocalHub, tiny: Path) -> None:
    """
    A hub that fails thrice answers in the end; one that goes on failing is named with its status.
    """
    hub.trouble("GET /api", status=503, times=3)
    assert "tiny-random-llama" == asker.read().facts.name
    assert 3 == len(asker.paused)

    hub.trouble("GET /api", status=500, times=-1)
    error = refused(Asker(hub, None))
    assert "HUB_FAILED" == error.reason
    assert "500" in error.message


@pytest.mark.parametrize("cut", [0, 1, 1000])
def test_answer_that_breaks_off_is_continued(asker: Asker, hub: LocalHub, tiny: Path, cut: int) -> None:
    """
    What arrived before a connection broke off is kept, and only the rest is asked for again.
    """
    hub.trouble("GET /o/n/resolve/", cut=cut, times=2)

    known = asker.read()

    again = [seen.headers["range"] for seen in hub.seen if "/resolve/" in seen.path]
    assert "tiny-random-llama" == known.facts.name
    assert f"bytes={cut}-" in again[1]
    assert f"bytes={2 * cut}-" in again[2]


def test_hub_that_always_breaks_off(asker: Asker, hub: LocalHub, tiny: Path) -> None:
    """
    A hub that never gets to the end is given up.
    """
    hub.trouble("GET /o/n/resolve/", cut=10, times=-1)

    error = refused(asker)

    assert "HUB_UNREACHABLE" == error.reason
    assert "broke off" in error.message
    assert 10 > len(hub.seen)


def test_hub_that_is_not_there(asker: Asker, hub: LocalHub, tiny: Path) -> None:
    """
    A hub that cannot be reached is named with the variable that names it.
    """
    error = refused(Asker(_gone(hub), None))

    assert "HUB_UNREACHABLE" == error.reason
    assert "HF_ENDPOINT" in error.message


def _gone(hub: LocalHub) -> LocalHub:
    hub.endpoint = "http://127.0.0.1:9"  # the port that throws everything away, where it listens at all
    return hub


def test_silent_hub_ends_with_the_time_and_is_not_remembered(asker: Asker, hub: LocalHub, tiny: Path) -> None:
    """
    A hub that says nothing costs the time there is, and no more; the next look-up asks again, and learns.
    """
    silence = threading.Event()
    hub.trouble("GET /api", until=silence)

    error = refused(asker, seconds=0.2)
    silence.set()

    assert isinstance(error, UnavailableError)
    assert "HUB_TIMEOUT" == error.reason
    assert "try again" in error.message
    assert error.retry_seconds
    assert "tiny-random-llama" == asker.read().facts.name


def test_dripping_hub_ends_with_the_time(asker: Asker, hub: LocalHub, tiny: Path) -> None:
    """
    A hub that sends a byte now and then is never silent, and gets no more time for that.
    """
    enough = threading.Event()
    hub.trouble("GET /o/n/resolve/", drip=True, until=enough, times=-1)

    error = refused(asker, seconds=0.3)
    enough.set()

    assert "HUB_TIMEOUT" == error.reason
    assert "tiny.gguf" in error.message


# --- wrong bytes


def test_hub_that_ignores_ranges(asker: Asker, hub: LocalHub, tmp_path: Path) -> None:
    """
    From a server that knows no ranges the beginning is taken, and the weights are not waited for.
    """
    content, header_bytes = large_gguf(tmp_path)
    hub.add("o/n", {"m.gguf": content})
    hub.trouble(f"GET /{content.sha256}", whole=True)

    known = asker.read()

    assert "large" == known.facts.name
    assert known.spent.fetched_bytes <= header_bytes + (2 << 20)


def test_hub_that_ignores_ranges_further_in(asker: Asker, hub: LocalHub, tmp_path: Path) -> None:
    """
    The beginning of a file is not taken for its middle.
    """
    content, _ = large_gguf(tmp_path, tokens=230_000)
    hub.add("o/n", {"m.gguf": content})
    hub.trouble(f"GET /{content.sha256}", whole=True, times=-1)

    assert "HUB_ANSWER_INVALID" == refused(asker).reason


def test_range_beside_the_one_that_was_asked_for(asker: Asker, hub: LocalHub, tiny: Path) -> None:
    """
    A range that begins elsewhere is not used.
    """
    hub.trouble("GET /o/n/resolve/", shift=1, times=-1)

    error = refused(asker)

    assert "HUB_ANSWER_INVALID" == error.reason
    assert hub.endpoint.removeprefix("http://") in error.message


def test_file_of_another_size_than_listed(asker: Asker, hub: LocalHub, tiny: Path) -> None:
    """
    A file that has another size than the hub lists is not used.
    """
    hub.trouble("GET /o/n/resolve/", status=206, headers={"Content-Range": "bytes 0-9/10"}, body=b"0123456789")

    assert "HUB_ANSWER_INVALID" == refused(asker).reason


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>log in to the hotel's network</html>",
        b"[]",
        b"{}",
        b'{"id": "o/n", "sha": 5, "siblings": []}',
        b'{"id": "o/n", "sha": "zzz", "siblings": []}',
        b'{"id": "o/n", "sha": "' + b"0" * 40 + b'", "siblings": [{"rfilename": "a.gguf"}]}',
        b'{"id": "o/n", "sha": "' + b"0" * 40 + b'", "siblings": [{"rfilename": "a.gguf", "size": -1}]}',
        b'{"id": "o/n", "sha": "' + b"0" * 40 + b'", "siblings": 7}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
    ids=["empty", "html", "list", "no id", "sha", "word", "no size", "negative", "number", "deep", "bytes"],
)
@pytest.mark.promise("P9")
def test_listing_that_is_none(asker: Asker, hub: LocalHub, body: bytes) -> None:
    """
    Whatever stands in place of a listing gives a sentence that names the hub.
    """
    hub.trouble("GET /api", status=200, body=body)

    error = refused(asker)

    assert isinstance(error, PreconditionError)
    assert "HUB_ANSWER_INVALID" == error.reason
    assert hub.endpoint.removeprefix("http://") in error.message


@pytest.mark.promise("P9")
def test_endless_listing(asker: Asker, hub: LocalHub) -> None:
    """
    A listing that does not end is cut, not collected.
    """
    hub.trouble("GET /api", status=200, body=b" " * (33 << 20))

    error = refused(asker)

    assert "HUB_ANSWER_INVALID" == error.reason
    assert "longer than" in error.message


@pytest.mark.promise("P9")
def test_model_whose_header_is_endless(asker: Asker, hub: LocalHub, tmp_path: Path) -> None:
    """
    However long a header says it is, a look-up fetches no more than it may.
    """
    content, _ = large_gguf(tmp_path, tokens=230_000)
    hub.add("o/n", {"m.gguf": content})

    error = refused(asker, most_bytes=3 << 20)

    assert "HUB_ANSWER_INVALID" == error.reason
    assert hub.body_bytes < 5 << 20


def test_packed_answer(asker: Asker, hub: LocalHub, tiny: Path) -> None:
    """
    An answer that is packed, though that was declined, is not unpacked: it might be a bomb.
    """
    hub.trouble("GET /api", status=200, headers={"Content-Encoding": "gzip"}, body=b"\x1f\x8b")

    error = refused(asker)

    assert "HUB_ANSWER_INVALID" == error.reason
    assert "packed" in error.message


def test_redirects_in_circles(asker: Asker, hub: LocalHub, tiny: Path) -> None:
    """
    A hub that sends one round in circles is left.
    """
    hub.trouble("GET /api", status=302, headers={"Location": "/api/models/o/n"}, times=-1)

    error = refused(asker)

    assert "HUB_ANSWER_INVALID" == error.reason
    assert "in circles" in error.message
    assert 7 > len(hub.seen)


def test_corrupt_model(asker: Asker, hub: LocalHub) -> None:
    """
    Bytes that are no model are an error with the reader's own reason, and are read anew the next time.
    """
    hub.add("o/n", {"m.gguf": Content(b"GGUF" + b"\xff" * 60, 1 << 20)})

    error = refused(asker)
    asked = len(hub.seen)
    again = refused(asker)

    assert isinstance(error, PreconditionError)
    assert error.reason == again.reason
    assert error.reason.startswith("MODEL_")
    assert "m.gguf" in error.message
    assert 2 * asked == len(hub.seen)


# --- offline


def test_offline_and_unknown(asker: Asker, hub: LocalHub, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    HF_HUB_OFFLINE keeps the hub from being asked, and the error names it.
    """
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    error = refused(asker)

    assert "HUB_OFFLINE" == error.reason
    assert "HF_HUB_OFFLINE" in error.message
    assert [] == hub.seen


def test_offline_and_known_from_before(
    asker: Asker, hub: LocalHub, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    What was read before is known offline, too, by a branch or by a commit.
    """
    commit = asker.read().commit
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.seen.clear()

    assert "tiny-random-llama" == asker.read().facts.name
    assert "tiny-random-llama" == asker.read(revision=commit).facts.name
    assert [] == hub.seen
