from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool_cli.failures import CommandError, Exit
from motorpool_cli.logins import Login, Logins, certificates, file, read, write
from tests.cli.authority import Authority

LAB = Login(server="lab.example:7400", cluster_id="c-1", token="mp_secret", ca_pem="PEM\n")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path)}


def test_what_is_written_is_read(environ: dict[str, str]) -> None:
    """
    Contexts come back as they were, names with dots too, and the current one.
    """
    logins = Logins().with_login("lab.example", LAB).with_login("home", LAB)

    write(logins, environ)

    assert logins == read(environ)
    assert "home" == read(environ).current


def test_nothing_was_logged_in_to(environ: dict[str, str]) -> None:
    """
    Without a file there are no contexts.
    """
    assert Logins() == read(environ)


def test_the_current_context_may_go() -> None:
    """
    When the current context is forgotten none is current; when another one is, it stays.
    """
    logins = Logins().with_login("a", LAB).with_login("b", LAB)

    assert "" == logins.without("b").current
    assert "b" == logins.without("a").current


def test_a_token_is_not_in_a_repr() -> None:
    """
    A login that lands in a traceback does not show its token.
    """
    assert "mp_secret" not in repr(LAB)


def test_only_certificates_are_kept(authority: Authority) -> None:
    """
    Of a PEM file its certificates are kept, whatever else stands in it.
    """
    pem = authority.certificate_pem

    assert pem.decode() * 2 == certificates(b'# a "quoted" remark \\\n' + pem + "é\n".encode() + pem)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"contexts = ", "is not TOML"),
        (b"\xff", "is not TOML in UTF-8"),
        (b"contexts = 3", "has no table [contexts.NAME]"),
        (b"current = 3", "has no table [contexts.NAME], or a `current` that is no name"),
        (b"[contexts]\nlab = 4711", "has a context 'lab' that is no table"),
        (b'[contexts.lab]\ntoken = 4711\nserver = "a:1"', "without the text cluster_id, token, ca_pem"),
    ],
)
def test_a_malformed_file(environ: dict[str, str], content: bytes, words: str) -> None:
    """
    The message names the file, what is wrong and what to do, and never a value that may be the token.
    """
    file(environ).parent.mkdir()
    file(environ).touch(mode=0o600)
    file(environ).write_bytes(content)

    with pytest.raises(CommandError) as caught:
        read(environ)

    assert Exit.USAGE == caught.value.exit_code
    assert str(file(environ)) in caught.value.message
    assert words in caught.value.message
    assert "4711" not in caught.value.message


@pytest.mark.promise("P9")
@given(content=st.binary(max_size=200))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """
    Any bytes in the file are contexts or a clear error.
    """
    environ = {"XDG_CONFIG_HOME": str(tmp_path_factory.getbasetemp())}
    file(environ).parent.mkdir(exist_ok=True)
    file(environ).touch(mode=0o600)
    file(environ).write_bytes(content)

    with suppress(CommandError):
        assert isinstance(read(environ), Logins)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_may_read_is_refused(environ: dict[str, str], mode: int) -> None:
    """
    As ssh does with keys: tokens that others can read or change are not used, and the message says what mends it.
    """
    write(Logins().with_login("lab", LAB), environ)
    assert "lab" == read(environ).current
    file(environ).chmod(mode)

    with pytest.raises(CommandError, match=r"others than its owner may read or write it. Say `chmod 600 ") as caught:
        read(environ)

    assert Exit.USAGE == caught.value.exit_code
    assert "mp_secret" not in caught.value.message
