"""Whatever bytes come in, a manifest and a frame are read or refused."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool_sdk import Launch, ManifestError, Profile, WireError, wire
from motorpool_sdk.manifest import parse

pytestmark = pytest.mark.promise("P9")

KEYS = ["kind", "api", "provides", "module", "aliases", "pci_ids", "library_paths", "sets_env", "x"]
VALUES = st.one_of(
    st.sampled_from(['"backend"', '">=0.1"', '"acme"', '"acme.plugin"', '["10de"]', "{}", "[[[]]]", "1979-05-27"]),
    st.integers().map(str),
    st.text(max_size=20).map(lambda text: f"'{text}'"),
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["argv", "env", "readiness", "path", "image"]), inner)
    ),
    max_leaves=10,
)


def said_of(content: bytes) -> str:
    """Return what a manifest's refusal says, or an empty text for one that is read."""
    try:
        parse(content, "plugin.toml", "acme")
    except ManifestError as error:
        return str(error)
    return ""


def said_of_answer(content: bytes, kind: type[object]) -> str:
    try:
        wire.decode(content, kind)
    except WireError as error:
        return str(error)
    return ""


def is_clear(said: str) -> bool:
    return said == "" or (said.startswith("plugin.toml: ") and len(said) < 2000)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_manifest_or_an_error(content: bytes) -> None:
    """
    Bytes of any kind give a manifest or a ManifestError that names the file.
    """
    assert is_clear(said_of(content))


@given(st.dictionaries(st.sampled_from(KEYS), VALUES))
def test_any_table_is_a_manifest_or_an_error(table: dict[str, str]) -> None:
    """
    Known keys with any values give a manifest or a ManifestError.
    """
    content = "\n".join(f"{key} = {value}" for key, value in table.items()).encode("utf-8", "surrogatepass")
    assert is_clear(said_of(content))


@pytest.mark.parametrize("content", [b"x=" + b"[" * 60_000, b"x=" + b"{a=" * 20_000, b'"' * 60_000, b"\xff\xfe", b"\0"])
def test_deep_and_strange_manifests_are_refused(content: bytes) -> None:
    """
    Nesting that would exhaust the parser is refused like any other nonsense.
    """
    with pytest.raises(ManifestError):
        parse(content, "plugin.toml", "acme")


@given(st.binary(max_size=300))
def test_any_frame_is_an_answer_or_an_error(content: bytes) -> None:
    """
    Bytes of any kind from a plugin's process are decoded or refused.
    """
    for kind in (wire.Response, Profile, Launch):
        assert said_of_answer(content, kind) or content.lstrip()[:1] == b"{"


@given(JSON)
def test_any_json_is_a_launch_or_an_error(value: object) -> None:
    """
    JSON of any shape where a launch should be is a launch or an error.
    """
    assert said_of_answer(msgspec.json.encode(value), Launch) or isinstance(value, dict)
