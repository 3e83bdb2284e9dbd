import contextlib
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from typer.testing import CliRunner

from motorpool_controller.main import app
from motorpool_controller.security.tokens import read_token
from tests.models.tiny_gguf import make_tiny_gguf

COMMAND = [sys.executable, "-c", "from motorpool_controller.main import main; main()"]
LISTEN = ["--listen", "127.0.0.1:0", "--agents-listen", "127.0.0.1:0"]


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def call(*arguments: str, **environment: str) -> Done:
    """Run a command in this process, without the seconds that imports take."""
    variables: dict[str, str | None] = {name: None for name in os.environ if name.startswith("MOTORPOOL_")}
    result = CliRunner().invoke(app, arguments, env={**variables, **environment})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


@contextmanager
def controller(data_dir: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a controller until it is ready; give it and the line that says so."""
    with subprocess.Popen(
        [*COMMAND, "run", "--data-dir", str(data_dir), *LISTEN],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    ) as process:
        assert process.stderr is not None
        try:
            yield process, next(line for line in process.stderr if "controller ready" in line)
        finally:
            process.kill()


@pytest.fixture(name="data_dir")
def _data_dir(tmp_path: Path) -> Path:
    data_dir = tmp_path / "data"
    assert call("init", "--data-dir", str(data_dir), *LISTEN).returncode == 0
    return data_dir


def test_init_says_what_to_do_next_and_does_not_overwrite(tmp_path: Path) -> None:
    """
    The first init prints the next commands and the authority's fingerprint; the second exits with 5 and says that there
    is a cluster.
    """
    flags = ["--data-dir", str(tmp_path / "data"), "--listen", "127.0.0.1:7400"]
    first = call("init", *flags)
    second = call("init", *flags)

    assert first.returncode == 0
    assert f"motorpool-controller run --data-dir {tmp_path}/data --listen 127.0.0.1:7400\n" in first.stdout
    assert f"motorpool --config {tmp_path}/data/client.toml nodes" in first.stdout
    authority = x509.load_pem_x509_certificate((tmp_path / "data" / "ca.pem").read_bytes())
    assert f"\n  {authority.fingerprint(hashes.SHA256()).hex()}\n" in first.stdout
    assert (5, "") == (second.returncode, second.stdout)
    assert "holds a cluster already" in second.stderr


@pytest.mark.parametrize(
    "command", [["run"], ["token", "join"], ["token", "list"], ["token", "create", "--role", "reader"]]
)
def test_commands_without_a_cluster_tell_to_make_one(tmp_path: Path, command: list[str]) -> None:
    """
    Where there is no cluster, every command exits with 5, names init, and leaves nothing behind.
    """
    done = call(*command, "--data-dir", str(tmp_path / "data"))

    assert (5, "") == (done.returncode, done.stdout)
    assert "motorpool-controller init" in done.stderr
    assert not (tmp_path / "data").exists()


def test_bad_setting_is_a_usage_error(tmp_path: Path) -> None:
    """
    A bad flag or variable exits with 2, and says which and what is allowed.
    """
    flag = call("run", "--data-dir", str(tmp_path), "--listen", "nowhere")
    variable = call("run", "--data-dir", str(tmp_path), MOTORPOOL_CONTROLLER_LOG_LEVEL="loud")
    role = call("token", "create", "--role", "agent", "--data-dir", str(tmp_path))
    ttl = call("token", "join", "--ttl", "soon", "--data-dir", str(tmp_path))

    assert [2, 2, 2, 2] == [done.returncode for done in (flag, variable, role, ttl)]
    assert "flag --listen is 'nowhere', which is not allowed: HOST:PORT" in flag.stderr
    assert "variable MOTORPOOL_CONTROLLER_LOG_LEVEL is 'loud'" in variable.stderr


def test_token_is_alone_on_stdout(data_dir: Path) -> None:
    """
    A script can keep what `token join` and `token create` print: the token and nothing else.
    """
    join = call("token", "join", "--data-dir", str(data_dir), "--uses", "3")
    admin = call("token", "create", "--role", "admin", "--ttl", "7d", "--data-dir", str(data_dir))

    for done, prefix in ((join, "mpj_"), (admin, "mp_")):
        assert (0, "") == (done.returncode, done.stderr)
        assert done.stdout.startswith(prefix)
        assert read_token(done.stdout.removesuffix("\n")) is not None


def test_tokens_are_listed_and_revoked(data_dir: Path) -> None:
    """
    The list shows ids, roles and what is left, never a secret; a revoked token is gone from it.
    """
    where = ("--data-dir", str(data_dir))
    text = call("token", "join", *where, "--uses", "3", "--description", "rack 7").stdout
    _, token_id, secret, _ = text.split("_")
    before = call("token", "list", *where).stdout
    revoked = call("token", "revoke", token_id, *where)
    after = call("token", "list", *where).stdout
    again = call("token", "revoke", token_id, *where)

    assert re.search(rf"^{token_id} +join +.* +3 +rack 7", before, re.MULTILINE)
    assert secret not in before
    assert (0, 1) == (revoked.returncode, again.returncode)
    assert token_id not in after
    assert f"tokens/{token_id} does not exist" in again.stderr


@pytest.mark.e2e
def test_run_is_ready_then_stops_cleanly(data_dir: Path, tmp_path: Path) -> None:
    """
    The controller says that it is ready, to systemd too, and SIGTERM ends it with 0.
    """
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(path))
        systemd.settimeout(30)
        with controller(data_dir, NOTIFY_SOCKET=str(path)) as (process, line):
            assert systemd.recv(1_000).startswith(b"READY=1\nSTATUS=serving on 127.0.0.1:")
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0
        assert systemd.recv(1_000) == b"STOPPING=1"

    assert re.search(r"listen=127\.0\.0\.1:\d+ agents_listen=127\.0\.0\.1:\d+ cluster=\S+ epoch=1 ", line)


@pytest.mark.e2e
def test_second_controller_of_a_data_dir_is_refused(data_dir: Path) -> None:
    """
    Two runs on one data directory: the second exits with 5 and names it, the first goes on; tokens are made beside it.
    """
    with controller(data_dir) as (process, _):
        second = subprocess.run(
            [*COMMAND, "run", "--data-dir", str(data_dir), *LISTEN], capture_output=True, text=True, check=False
        )
        beside = call("token", "create", "--role", "reader", "--data-dir", str(data_dir))

        assert (5, 0) == (second.returncode, beside.returncode)
        assert f"{data_dir} is in use by another motorpool-controller" in second.stderr
        assert process.poll() is None


@pytest.mark.e2e
def test_a_port_in_use_is_one_paragraph(data_dir: Path) -> None:
    """
    An address that somebody else listens on ends the controller with 2, and with the flag that gives another.
    """
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        flags = ["--data-dir", str(data_dir), "--listen", address, "--agents-listen", "127.0.0.1:0"]
        done = subprocess.run([*COMMAND, "run", *flags], capture_output=True, text=True, check=False)

    assert 2 == done.returncode
    (line,) = done.stderr.splitlines()
    assert f"cannot listen on {address}" in line
    assert "--listen" in line


@pytest.mark.e2e
def test_strangers_at_the_port_leave_nothing_in_the_log(data_dir: Path) -> None:
    """
    Bytes that are no TLS cost their own connection, and no line of another format in the log.
    """
    with controller(data_dir) as (process, line):
        for port in re.findall(r"listen=127\.0\.0\.1:(\d+)", line):
            for content in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + bytes(300)):
                with socket.create_connection(("127.0.0.1", int(port)), timeout=30) as stranger:
                    stranger.sendall(content)
                    with contextlib.suppress(ConnectionError):
                        while stranger.recv(1_000):
                            pass
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
        assert process.stderr is not None
        assert "ssl" not in process.stderr.read()


@pytest.mark.e2e
def test_controller_that_was_fenced_ends(data_dir: Path) -> None:
    """
    A controller whose database another one took over stops with a message as soon as it wants to write.
    """
    with controller(data_dir) as (process, line):
        with sqlite3.connect(data_dir / "controller.db") as connection:
            connection.execute("UPDATE meta SET controller_epoch = controller_epoch + 1")
        connection.close()
        _enroll(data_dir, line)
        assert process.stderr is not None
        rest = process.stderr.read()
        assert process.wait(timeout=30) == 1

    assert "another motorpool-controller opened" in rest


def _enroll(data_dir: Path, line: str) -> None:
    """Make the controller write."""
    import grpc

    from motorpool import v1
    from tests.controller.requests import csr

    token = call("token", "join", "--data-dir", str(data_dir)).stdout.strip()
    found = re.search(r" listen=(\S+)", line)
    assert found is not None
    credentials = grpc.ssl_channel_credentials((data_dir / "ca.pem").read_bytes())
    request = v1.EnrollRequest(node_id="a", enrollment_id="a", csr_pem=csr())
    with grpc.secure_channel(found[1], credentials) as channel, pytest.raises(grpc.RpcError) as caught:
        v1.EnrollmentServiceStub(channel).Enroll(request, metadata=(("authorization", f"Bearer {token}"),), timeout=30)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def test_inspect_a_model_of_this_machine(tmp_path: Path) -> None:
    """
    A path is read without a cluster, and what cannot be read is a sentence and exit code 1.
    """
    model = make_tiny_gguf(tmp_path / "tiny.gguf")
    (tmp_path / "bad.gguf").write_bytes(b"GGUF")

    found = call("inspect", str(model), "--data-dir", str(tmp_path / "none"))
    broken = call("inspect", str(tmp_path / "bad.gguf"))
    unnamed = call("inspect", "bad.gguf")

    assert 0 == found.returncode
    assert "tiny-random-llama" in found.stdout
    assert "with llama_cpp at 2048 tokens" in found.stdout
    assert (1, True) == (broken.returncode, "bad.gguf" in broken.stderr)
    assert (1, True) == (unnamed.returncode, "absolute path" in unnamed.stderr)
