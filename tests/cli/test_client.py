import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from google.rpc import code_pb2

from motorpool import v1
from tests.cli.authority import Authority
from tests.cli.controller import Controller
from tests.cli.motorpool import Motorpool, error_of


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port on which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_nobody_listens(motorpool: Motorpool, silent_port: int) -> None:
    """
    A controller that is not there is exit code 3, and the message says what to check.
    """
    result = motorpool("--server", f"127.0.0.1:{silent_port}", "nodes")

    assert (3, "") == (result.exit_code, result.stdout)
    assert (
        f"error: The controller at 127.0.0.1:{silent_port} cannot be reached: Connection refused. Check that "
        "`motorpool-controller run` is up there, and that --server (or MOTORPOOL_SERVER) names it. "
        "[CONTROLLER_UNREACHABLE]\n"
    ) == result.stderr


def test_a_name_that_does_not_resolve(motorpool: Motorpool) -> None:
    """
    A host that does not exist is exit code 3 too.
    """
    result = motorpool("--server", "controller.invalid:7400", "nodes", "-o", "json")

    assert ("CONTROLLER_UNREACHABLE", 3) == (error_of(result)["reason"], result.exit_code)


def test_a_busy_controller_is_asked_again(controller: Controller, motorpool: Motorpool) -> None:
    """
    What the controller sends away for a moment is sent again, the same request under the same id, until it is taken.
    """
    controller.busy = [0.01, 0.01]
    result = motorpool("deploy", "chat", "--model", "/models/m.gguf", "-o", "json")
    sent = [request for request in controller.requests if isinstance(request, v1.CreateDeploymentRequest)]

    assert 0 == result.exit_code
    assert [] == controller.busy
    assert 1 == len(sent)
    assert [sent[0].request_id] * 2 == [request.request_id for request in controller.sent_away]
    assert sent[0].request_id


def test_a_controller_that_stays_busy_is_told_of(controller: Controller, motorpool: Motorpool) -> None:
    """
    Whoever is to come again later than a person waits is told so; that is no fault of the command line.
    """
    controller.busy = [3600.0]
    result = motorpool("deploy", "chat", "--model", "/models/m.gguf", "-o", "json")

    assert (1, "STORE_BUSY") == (result.exit_code, error_of(result)["reason"])


def test_a_wrong_token(motorpool: Motorpool) -> None:
    """
    A wrong token is exit code 4, with the controller's own words, and is not repeated.
    """
    result = motorpool("--token", "mpt_wrong_token", "nodes", "-o", "json")

    assert ("TOKEN_INVALID", 4) == (error_of(result)["reason"], result.exit_code)
    assert "mpt_wrong_token" not in result.output


def test_a_wrong_authority(motorpool: Motorpool, tmp_path: Path) -> None:
    """
    A controller that another authority vouches for is not spoken to.
    """
    (tmp_path / "other.pem").write_bytes(Authority().certificate_pem)

    result = motorpool("--ca-file", str(tmp_path / "other.pem"), "nodes")

    assert 3 == result.exit_code
    assert "a certificate that the authority in --ca-file did not sign" in result.stderr
    assert "[CONTROLLER_UNTRUSTED]" in result.stderr


def test_a_certificate_for_another_host(tmp_path: Path, motorpool: Motorpool) -> None:
    """
    A certificate for another address is not enough.
    """
    elsewhere = Authority("10.9.9.9")
    other = Controller(elsewhere, tmp_path)
    try:
        result = motorpool("--config", str(other.client_file), "nodes")
    finally:
        other.close()

    assert 3 == result.exit_code
    assert f"The certificate of the controller at {other.address} is not for 127.0.0.1." in result.stderr


def test_a_port_without_tls(motorpool: Motorpool) -> None:
    """
    What speaks no TLS is named as such.
    """
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        result = motorpool("--server", f"127.0.0.1:{port}", "nodes")
    finally:
        server.stop(0).wait()

    assert 3 == result.exit_code
    assert "does not speak TLS" in result.stderr


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "grpc_proxy"])
def test_no_proxy_to_this_machine(
    controller: Controller, motorpool: Motorpool, monkeypatch: pytest.MonkeyPatch, silent_port: int, name: str
) -> None:
    """
    A proxy in the environment is not asked for the way to loopback.
    """
    monkeypatch.setenv(name, f"http://127.0.0.1:{silent_port}")

    assert 0 == motorpool("nodes").exit_code


@pytest.mark.parametrize(
    ("code", "reason", "exit_code"),
    [
        (code_pb2.UNAUTHENTICATED, "TOKEN_EXPIRED", 4),
        (code_pb2.PERMISSION_DENIED, "ROLE_INSUFFICIENT", 4),
        (code_pb2.NOT_FOUND, "NOT_FOUND", 5),
        (code_pb2.ALREADY_EXISTS, "ALREADY_EXISTS", 6),
        (code_pb2.ABORTED, "ETAG_MISMATCH", 6),
        (code_pb2.FAILED_PRECONDITION, "NODE_NOT_EMPTY", 6),
        (code_pb2.INVALID_ARGUMENT, "FIELD_INVALID", 7),
        (code_pb2.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED", 7),
        (code_pb2.RESOURCE_EXHAUSTED, "TOO_LARGE", 7),
        (code_pb2.UNAVAILABLE, "BUSY", 3),
        (code_pb2.INTERNAL, "INTERNAL", 1),
        (code_pb2.UNIMPLEMENTED, "UNIMPLEMENTED", 1),
    ],
)
def test_exit_codes(
    controller: Controller, motorpool: Motorpool, code: code_pb2.Code.ValueType, reason: str, exit_code: int
) -> None:
    """
    Each refusal of the controller keeps its reason and its words, and has its exit code.
    """
    controller.refusal = (code, reason, "In the controller's words.")

    result = motorpool("nodes", "-o", "json")

    assert {"reason": reason, "message": "In the controller's words.", "exit_code": exit_code} == error_of(result)
    assert exit_code == result.exit_code
