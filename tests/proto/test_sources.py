import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool import v1
from motorpool.sources import SourceError, parse_source, source_text


def hub(repository: str, file: str = "", revision: str = "") -> v1.ModelSource:
    return v1.ModelSource(hugging_face=v1.HuggingFaceSource(repository=repository, file=file, revision=revision))


def scope(model: str, file: str = "", revision: str = "") -> v1.ModelSource:
    return v1.ModelSource(model_scope=v1.ModelScopeSource(model_id=model, file_path=file, revision=revision))


@pytest.mark.parametrize(
    ("word", "source"),
    [
        ("/models/a b@c:d.gguf", v1.ModelSource(local_path="/models/a b@c:d.gguf")),
        ("Qwen/Qwen3-8B", hub("Qwen/Qwen3-8B")),
        ("hf:Qwen/Qwen3-8B", hub("Qwen/Qwen3-8B")),
        ("hf:o/n:sub/*Q4_K_M*.gguf", hub("o/n", "sub/*Q4_K_M*.gguf")),
        ("hf:o/n@refs/pr/1", hub("o/n", "", "refs/pr/1")),
        ("o/n:m.gguf@v2", hub("o/n", "m.gguf", "v2")),
        ("hf:o/n.gguf", hub("o/n.gguf")),
        ("ms:o/n", scope("o/n")),
        ("ms:o/n:m.gguf@master", scope("o/n", "m.gguf", "master")),
    ],
)
def test_words_name_places(word: str, source: v1.ModelSource) -> None:
    """
    A word names a path, or a repository with a file and a revision.
    """
    assert source == parse_source(word)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("", "nothing names no model"),
        ("model.gguf", "absolute path"),
        ("models/m.gguf", "begin with /"),
        ("./m.gguf", "absolute path"),
        ("hf:", "hf:OWNER/NAME"),
        ("gh:o/n", "gh: is no hub"),
        ("https://huggingface.co/o/n", "hubs are named in the controller's settings"),
        ("o/n@", "names no model"),
        ("o/n@a@b", "names no model"),
        ("o/n/m", "names no model"),
        ("../o/n", "names no model"),
    ],
)
def test_words_that_name_nothing(word: str, said: str) -> None:
    """
    What names no place says what would.
    """
    with pytest.raises(SourceError, match=said):
        parse_source(word)


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True)
files = st.from_regex(r"[^@:\n]{1,20}", fullmatch=True)


@given(make=st.sampled_from((hub, scope)), owner=names, name=names, file=files | st.just(""), revision=names)
def test_there_and_back(make: type, owner: str, name: str, file: str, revision: str) -> None:
    """
    The word for a source names that source.
    """
    source = make(f"{owner}/{name}", file, revision)

    assert source == parse_source(source_text(source))


def test_a_source_that_names_nothing() -> None:
    """
    There is no word for nothing.
    """
    assert "" == source_text(v1.ModelSource())
