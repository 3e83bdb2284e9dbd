import hashlib
import json
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from motorpool import v1
from motorpool_cli import logins
from motorpool_cli.main import app
from tests.cli.authority import Authority
from tests.cli.controller import TOKEN, Controller
from tests.cli.motorpool import error_of, rows

Run = Callable[..., Result]


@pytest.fixture(name="run")
def make_run(controller: Controller) -> Run:
    """The command in this process, without a client file."""

    def run(*words: str, stdin: str = f"{TOKEN}\n") -> Result:
        return CliRunner().invoke(app, list(words), input=stdin)

    return run


def log_in(run: Run, controller: Controller, *options: str) -> Result:
    return run("login", controller.address, "--ca-file", str(controller.ca_file), "--token-stdin", *options)


def fingerprint(authority: Authority) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(authority.certificate_pem.decode())).hexdigest()


def test_login_makes_the_context_that_commands_use(controller: Controller, run: Run) -> None:
    """
    After a login, commands go to that cluster, though ca.pem is gone; the token is shown nowhere.
    """
    done = log_in(run, controller, "--name", "lab")
    controller.ca_file.unlink()

    assert (0, 0) == (done.exit_code, run("cluster").exit_code)
    assert "(cluster c-81f0) as admin; commands go to context lab from now on.\n" in done.stdout
    assert TOKEN not in done.output


def test_the_contexts_file_is_the_users_own(controller: Controller, run: Run) -> None:
    """
    The file with tokens is readable by its owner alone, and so is its folder.
    """
    assert 0 == log_in(run, controller).exit_code

    assert 0o600 == logins.file().stat().st_mode & 0o777
    assert 0o700 == logins.folder().stat().st_mode & 0o777
    assert ["contexts.toml"] == [path.name for path in logins.folder().iterdir()]


def test_the_host_is_the_contexts_name(controller: Controller, run: Run) -> None:
    """
    Without --name a context is called as its host; logging in again replaces it.
    """
    first, second = log_in(run, controller), log_in(run, controller)

    assert (0, 0) == (first.exit_code, second.exit_code)
    assert [["*", "127.0.0.1", controller.address, "c-81f0"]] == rows(run("contexts").stdout)[1:]


def test_login_by_fingerprint(controller: Controller, run: Run, authority: Authority) -> None:
    """
    With the SHA-256 of the authority alone, its certificate is taken from the server, and trusted from then on.
    """
    digits = fingerprint(authority).upper()
    colons = ":".join(digits[index : index + 2] for index in range(0, 64, 2))

    done = run("login", controller.address, "--ca-fingerprint", colons, "--token-stdin")

    assert 0 == done.exit_code, done.output
    assert 0 == run("cluster").exit_code
    assert authority.certificate_pem.decode() == logins.read().by_name["127.0.0.1"].ca_pem


def test_another_authority_is_not_logged_in_to(controller: Controller, run: Run) -> None:
    """
    A server without the fingerprint's certificate gets no token, and nothing is kept.
    """
    done = run("login", controller.address, "--ca-fingerprint", "0" * 64, "--token-stdin", "-o", "json")

    assert ("CONTROLLER_UNTRUSTED", 3) == (error_of(done)["reason"], done.exit_code)
    assert [] == controller.requests
    assert not logins.file().exists()


def test_a_wrong_token_is_not_kept(controller: Controller, run: Run) -> None:
    """
    A login that the controller refuses leaves what was there.
    """
    log_in(run, controller, "--name", "lab")
    before = logins.file().read_text()

    done = run("login", controller.address, "--ca-file", str(controller.ca_file), "--token-stdin", stdin="wrong\n")

    assert 4 == done.exit_code
    assert before == logins.file().read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("a.example:1",), "It is not known whom to trust at a.example:1. Say --ca-file"),
        (("a.example:1", "--ca-fingerprint", "12"), "--ca-fingerprint takes the SHA-256"),
        (("a.example",), "'a.example' is not host:port"),
        (("a.example:1", "--name", "my lab"), "'my lab' cannot be a context's name"),
        (("a.example:1", "--ca-file", "/nowhere/ca.pem"), "/nowhere/ca.pem of the cluster's authority cannot be read"),
    ],
)
def test_a_wrong_line(run: Run, words: tuple[str, ...], message: str) -> None:
    """
    What is missing or malformed is exit code 2, and nothing was sent.
    """
    done = run("login", *words, "--token-stdin")

    assert 2 == done.exit_code
    assert message in done.stderr


def test_no_token_and_nobody_to_ask(controller: Controller, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without a terminal, the message says each way to give a token; the variable is one.
    """
    words = ("login", controller.address, "--ca-file", str(controller.ca_file))

    refused = run(*words, stdin="")
    monkeypatch.setenv("MOTORPOOL_TOKEN", TOKEN)

    assert 2 == refused.exit_code
    assert "Pipe it in with --token-stdin, set MOTORPOOL_TOKEN" in refused.stderr
    assert 0 == run(*words, stdin="").exit_code


def test_several_clusters(controller: Controller, run: Run, authority: Authority, tmp_path: Path) -> None:
    """
    The last login is current; `use` and --context choose another, and `logout` forgets one.
    """
    (tmp_path / "two").mkdir()
    other = Controller(authority, tmp_path / "two")
    controller.put(v1.Node(name="nodes/here"))
    other.put(v1.Node(name="nodes/there"))
    try:
        log_in(run, controller, "--name", "one")
        log_in(run, other, "--name", "two")
        listed = json.loads(run("contexts", "-o", "json").stdout)["contexts"]
        assert [("one", False), ("two", True)] == [(one["name"], one["current"]) for one in listed]
        assert TOKEN not in json.dumps(listed)

        def answering(*words: str) -> list[str]:
            return [row[0] for row in rows(run(*words, "nodes").stdout)[1:]]

        assert ["there"] == answering()
        assert ["here"] == answering("--context", "one")
        assert 0 == run("use", "one").exit_code
        assert ["here"] == answering()
        assert 0 == run("logout", "one").exit_code
        assert ["-", "two"] == rows(run("contexts").stdout)[1][:2]
        gone = run("--context", "one", "nodes")
    finally:
        other.close()

    assert 2 == gone.exit_code
    assert "No context is called 'one'; they are two." in gone.stderr
    assert 2 == run("nodes").exit_code  # none is current: nothing is guessed


def test_an_unknown_context_is_neither_used_nor_forgotten(run: Run) -> None:
    """
    A name that there is not is exit code 2, with those that there are.
    """
    for words in (("use", "lab"), ("logout", "lab")):
        done = run(*words, "-o", "yaml")
        assert 2 == done.exit_code
        assert "reason: CONTEXT_UNKNOWN" in done.stderr


def test_no_contexts(run: Run) -> None:
    """
    An empty list says how to make one.
    """
    done = run("contexts")

    assert (0, "") == (done.exit_code, done.stdout)
    assert "`motorpool login HOST:PORT --ca-file ca.pem` makes one." in done.stderr


@pytest.mark.promise("P6")
def test_a_login_keeps_all_that_the_cluster_trusts(controller: Controller, run: Run) -> None:
    """
    While the authority is rotated, a login with the present one's file keeps the coming one, too.
    """
    controller.told_to_trust = controller.ca_file.read_text() + Authority().certificate_pem.decode()

    assert 0 == log_in(run, controller, "--name", "lab").exit_code

    assert logins.read().by_name["lab"].ca_pem == controller.told_to_trust


@pytest.mark.promise("P6")
def test_contexts_go_along_with_a_rotation(controller: Controller, run: Run) -> None:
    """
    `motorpool cluster` has the context trust what the cluster says, and says so once; other clusters' stay as they are.
    """
    assert 0 == log_in(run, controller, "--name", "lab").exit_code
    before = logins.read()
    elsewhere = replace(before.by_name["lab"], server="other.example:7400")
    logins.write(before.with_login("other", elsewhere).with_login("lab", before.by_name["lab"]))
    assert "trusts those" not in run("cluster").stderr

    controller.told_to_trust = controller.ca_file.read_text() + Authority().certificate_pem.decode()

    assert "the context trusts those from now on" in run("cluster").stderr
    assert "trusts those" not in run("cluster", "-o", "json").stderr
    known = logins.read()
    assert ("lab", controller.told_to_trust) == (known.current, known.by_name["lab"].ca_pem)
    assert elsewhere == known.by_name["other"]
