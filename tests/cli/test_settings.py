from pathlib import Path

import pytest

from motorpool_cli.failures import CommandError, Exit
from motorpool_cli.logins import Login, Logins, write
from motorpool_cli.settings import default_file, load
from tests.cli.authority import Authority
from tests.homeless import homeless


@pytest.fixture
def client_file(tmp_path: Path, authority: Authority) -> Path:
    (tmp_path / "ca.pem").write_bytes(authority.certificate_pem)
    file = tmp_path / "client.toml"
    file.touch(mode=0o600)
    file.write_text('server = "file.example:7400"\nca_file = "ca.pem"\ntoken = "from-file"\n')
    return file


def refused(file: Path) -> str:
    with pytest.raises(CommandError) as caught:
        load(config=file, environ={})
    assert (Exit.USAGE, "CLIENT_CONFIG_INVALID") == (caught.value.exit_code, caught.value.reason)
    return caught.value.message


def test_the_client_file(client_file: Path, authority: Authority) -> None:
    """
    The file gives all three; ca_file is found beside it, wherever the command was called.
    """
    found = load(config=client_file, environ={})

    assert ("file.example:7400", authority.certificate_pem, "from-file") == (found.server, found.ca_pem, found.token)


def test_flags_win_over_variables_over_the_file(client_file: Path) -> None:
    """
    What stands nearest to the command wins, key by key.
    """
    environ = {"MOTORPOOL_CONFIG": str(client_file), "MOTORPOOL_SERVER": "env.example:1", "MOTORPOOL_TOKEN": "from-env"}

    found = load(token="from-flag", environ=environ)

    assert ("env.example:1", "from-flag") == (found.server, found.token)


def test_the_default_file(client_file: Path) -> None:
    """
    Without a name the file of the user's configuration is read, and one that is not there is no error of its own.
    """
    environ = {"XDG_CONFIG_HOME": str(client_file.parent / "config")}
    default = default_file(environ)
    given = {"MOTORPOOL_SERVER": "a:1", "MOTORPOOL_TOKEN": "t", "MOTORPOOL_CA_FILE": str(client_file.parent / "ca.pem")}

    assert "a:1" == load(environ={**environ, **given}).server
    default.parent.mkdir(parents=True)
    default.write_text('server = "b:1"\n')
    assert "b:1" == load(environ={**environ, **given, "MOTORPOOL_SERVER": ""}).server


def test_nothing_is_known() -> None:
    """
    Without any setting, the message names each that is missing and each way to give it.
    """
    with pytest.raises(CommandError) as caught:
        load(environ={"XDG_CONFIG_HOME": "/nowhere"})

    for words in ("server, ca_file, token are missing", "client.toml", "/nowhere/motorpool", "MOTORPOOL_CA_FILE"):
        assert words in caught.value.message


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without a home directory there is no default client file, and the same message says what to set.
    """
    homeless(monkeypatch)
    with pytest.raises(CommandError, match=r"server, ca_file, token are missing.*~/\.config/motorpool"):
        load(environ={})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"server = ", "is not TOML: Invalid value (at end of document)"),
        (b"server = \xff", "is not UTF-8 text"),
        (b"server = " + b"[" * 5000, "is not TOML"),
        (b"server = " + b"9" * 5000, "is not TOML"),
        (b'sever = "a:1"', "has an unknown key 'sever'; its keys are server, ca_file, token."),
        (b"[server]\n", "server is not a string"),
        (b"token = 4711", "token is not a string"),
        (b'server = "a:1"', "ca_file, token are missing"),
        (b'server = "a:1"\ntoken = "t"\nca_file = "none.pem"', "none.pem of the cluster's authority cannot be read"),
        (b'server = "a:1"\ntoken = "t"\nca_file = "client.toml"', "client.toml holds no PEM certificate"),
        (b'server = "a"\ntoken = "t"\nca_file = "ca.pem"', "address 'a' is not host:port"),
        (b'server = "https://a:1"\ntoken = "t"\nca_file = "ca.pem"', "is not host:port"),
        (b'server = "a:99999"\ntoken = "t"\nca_file = "ca.pem"', "is not host:port"),
        (b'server = "a:1"\ntoken = "a b"\nca_file = "ca.pem"', "The token holds a space"),
        ('server = "a:1"\ntoken = "aé"\nca_file = "ca.pem"'.encode(), "The token holds a space or a character"),
    ],
)
def test_a_malformed_client_file(client_file: Path, content: bytes, words: str) -> None:
    """
    The message names the file and what is wrong in it, and never a value that may be the token.
    """
    client_file.write_bytes(content)

    message = refused(client_file)

    assert words in message
    assert "4711" not in message
    assert "a b" not in message


def test_a_client_file_that_cannot_be_read(tmp_path: Path) -> None:
    """
    A named file must exist and be a file.
    """
    assert f"The client file {tmp_path / 'none'} does not exist" in refused(tmp_path / "none")
    assert f"The client file {tmp_path} cannot be read: Is a directory" in refused(tmp_path)


@pytest.mark.parametrize("server", ["a.example:1", "10.0.0.1:7400", "[::1]:7400", "localhost:65535"])
def test_addresses(client_file: Path, server: str) -> None:
    """
    A name, an IPv4 or a bracketed IPv6 address, with a port.
    """
    assert server == load(config=client_file, server=server, environ={}).server


def test_a_token_with_its_newline(client_file: Path) -> None:
    """
    A token read from a file may end with a newline.
    """
    assert "t1" == load(config=client_file, token="t1\n", environ={}).token


def test_a_truncated_certificate(client_file: Path) -> None:
    """
    A file that only begins like a certificate is refused before anything is sent.
    """
    (client_file.parent / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")

    assert "holds no PEM certificate" in refused(client_file)


@pytest.fixture
def logged_in(tmp_path: Path, authority: Authority) -> dict[str, str]:
    """An environment in which somebody logged in to lab and then to home."""
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    logins = Logins()
    for name in ("lab", "home"):
        one = Login(
            server=f"{name}.example:1", cluster_id="c", token=f"of-{name}", ca_pem=authority.certificate_pem.decode()
        )
        logins = logins.with_login(name, one)
    write(logins, environ)
    return environ


def test_the_current_context(logged_in: dict[str, str], authority: Authority) -> None:
    """
    Who logged in needs no client file, and one in the default place is not read.
    """
    default_file(logged_in).write_text('server = "file.example:1"\n')

    found = load(environ=logged_in)

    assert ("home.example:1", authority.certificate_pem, "of-home") == (found.server, found.ca_pem, found.token)


def test_a_context_named_on_the_line_wins_over_variables(logged_in: dict[str, str], client_file: Path) -> None:
    """
    What a shell exported for another cluster does not reach into the context that the line names.
    """
    environ = {**logged_in, "MOTORPOOL_CONFIG": str(client_file), "MOTORPOOL_TOKEN": "t", "MOTORPOOL_SERVER": "x:1"}

    found = load(context="lab", environ=environ)

    assert ("lab.example:1", "of-lab") == (found.server, found.token)


def test_a_context_named_by_a_variable(logged_in: dict[str, str], client_file: Path) -> None:
    """
    A variable names a context too; a client file named on the line is nearer.
    """
    environ = {**logged_in, "MOTORPOOL_CONTEXT": "lab"}

    assert "lab.example:1" == load(environ=environ).server
    assert "file.example:7400" == load(config=client_file, environ=environ).server


def test_a_named_client_file_wins_over_the_current_context(logged_in: dict[str, str], client_file: Path) -> None:
    """
    MOTORPOOL_CONFIG works as before for who logged in.
    """
    assert "file.example:7400" == load(environ={**logged_in, "MOTORPOOL_CONFIG": str(client_file)}).server


def test_two_clusters_at_once(logged_in: dict[str, str], client_file: Path) -> None:
    """
    Two names from the same place are an error: a guess would deploy elsewhere.
    """
    environ = {**logged_in, "MOTORPOOL_CONFIG": str(client_file), "MOTORPOOL_CONTEXT": "lab"}

    with pytest.raises(CommandError, match="--config and --context name a cluster each"):
        load(config=client_file, context="lab", environ=logged_in)
    with pytest.raises(CommandError, match="MOTORPOOL_CONFIG and MOTORPOOL_CONTEXT name a cluster each"):
        load(environ=environ)
