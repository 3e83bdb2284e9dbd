"""P6, the half of the RPCs: every method that reflection finds, against a controller as it is run."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, MethodDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from motorpool import v1
from motorpool_controller.security.authority import Authority
from motorpool_controller.services.roles import Role
from motorpool_controller.services.tokens import make_token
from motorpool_controller.store.database import open_database
from motorpool_controller.store.store import utc_now
from motorpool_controller.store.tokens import TokenTable
from tests.controller.running import Metadata, reason

pytestmark = [pytest.mark.e2e, pytest.mark.promise("P6"), pytest.mark.xdist_group("every_rpc")]

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
DENIED = grpc.StatusCode.PERMISSION_DENIED
COMMAND = [sys.executable, "-c", "from motorpool_controller.main import main; main()"]
READERS_OWN = ("grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection")
INCLUDED = {
    Role.READER: {"ROLE_READER"},
    Role.OPERATOR: {"ROLE_READER", "ROLE_OPERATOR"},
    Role.ADMIN: {"ROLE_READER", "ROLE_OPERATOR", "ROLE_ADMIN"},
    Role.JOIN: {"ROLE_JOIN"},
}


@dataclass
class Controller:
    data_dir: Path
    address: str
    agents_address: str
    channel: grpc.Channel
    admin: Metadata
    methods: dict[str, MethodDescriptorProto] = field(default_factory=dict)

    def bearer(self, role: Role, *, expired: bool = False) -> Metadata:
        authority = Authority.load(self.data_dir, "")
        made = utc_now() - timedelta(hours=2 if expired else 0)
        token, text = make_token(role, "", timedelta(hours=1), None, now=made, ca_fingerprint=authority.fingerprint)
        engine = open_database(self.data_dir / "controller.db", migrate=False)
        TokenTable(engine).add(token)
        engine.dispose()
        return (("authorization", f"Bearer {text}"),)

    def refusal(self, method: str, metadata: Metadata) -> tuple[grpc.StatusCode, str]:
        """Call a method with no body; return how it was refused, or the code alone if it got through."""
        # On the wire every call is a stream both ways.
        stream: grpc.StreamStreamMultiCallable[bytes, bytes] = self.channel.stream_stream(method)
        call = stream(iter([b""]), metadata=metadata, timeout=30)
        try:
            next(call, None)
        except grpc.RpcError as error:
            if error.code() in {UNAUTHENTICATED, DENIED}:
                return reason(error)
            return error.code(), ""
        finally:
            call.cancel()
        return grpc.StatusCode.OK, ""


@pytest.fixture(name="controller", scope="module")
def _controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    data_dir = tmp_path_factory.mktemp("every-rpc") / "controller"
    flags = ["--data-dir", str(data_dir), "--listen", "127.0.0.1:0", "--agents-listen", "127.0.0.1:0"]
    subprocess.run([*COMMAND, "init", *flags], check=True, capture_output=True)
    with subprocess.Popen([*COMMAND, "run", *flags], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "controller ready" in line)
        address, agents_address = re.findall(r"listen=(\S+)", line)
        credentials = grpc.ssl_channel_credentials((data_dir / "ca.pem").read_bytes())
        token = tomllib.loads((data_dir / "client.toml").read_text())["token"]
        with grpc.secure_channel(address, credentials) as channel:
            admin = (("authorization", f"Bearer {token}"),)
            controller = Controller(data_dir, address, agents_address, channel, admin)
            controller.methods = _methods(controller)
            yield controller
        process.terminate()
        assert process.wait(timeout=30) == 0


def _methods(controller: Controller) -> dict[str, MethodDescriptorProto]:
    """Ask reflection for every method of every service."""
    ask = reflection_pb2_grpc.ServerReflectionStub(controller.channel).ServerReflectionInfo
    requests = [reflection_pb2.ServerReflectionRequest(list_services="")]
    (listed,) = ask(iter(requests), metadata=controller.admin)
    names = [service.name for service in listed.list_services_response.service]
    requests = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in names]
    found: dict[str, MethodDescriptorProto] = {}
    for answer in ask(iter(requests), metadata=controller.admin):
        for raw in answer.file_descriptor_response.file_descriptor_proto:
            file = FileDescriptorProto.FromString(raw)
            for service in file.service:
                full_name = f"{file.package}.{service.name}"
                if full_name in names:
                    found.update({f"/{full_name}/{method.name}": method for method in service.method})
    return found


def _role(name: str, method: MethodDescriptorProto) -> str:
    if name.split("/")[1] in READERS_OWN:
        return "ROLE_READER"
    return v1.Role.Name(method.options.Extensions[v1.role])


def test_reflection_finds_every_service_of_the_protos(controller: Controller) -> None:
    """
    What is tested below is everything: each service that the protos define is found, with all its methods.
    """
    protos = Path(__file__).parents[3] / "proto" / "motorpool" / "v1"
    defined = {
        f"/motorpool.v1.{service}/{method}"
        for file in protos.glob("*_service.proto")
        for service, body in re.findall(r"^service (\w+) \{(.*?)^\}", file.read_text(), re.MULTILINE | re.DOTALL)
        for method in re.findall(r"^  rpc (\w+)\(", body, re.MULTILINE)
    }

    ours = {name for name in controller.methods if name.startswith("/motorpool.")}
    assert defined == ours
    assert {name.split("/")[1] for name in controller.methods.keys() - ours} == set(READERS_OWN)


def test_every_method_has_a_role(controller: Controller) -> None:
    """
    No method of ours is without a role: nobody could call it, and that is never what was meant.
    """
    without = [name for name, method in controller.methods.items() if _role(name, method) == "ROLE_UNSPECIFIED"]

    assert [] == without


@pytest.mark.parametrize(
    ("credentials", "expected"),
    [("none", "CREDENTIALS_MISSING"), ("wrong", "TOKEN_INVALID"), ("expired", "TOKEN_EXPIRED")],
)
def test_no_method_answers_an_unknown_caller(controller: Controller, credentials: str, expected: str) -> None:
    """
    Over a working TLS connection, no method answers without a token, with a wrong one, or with one that expired.
    """
    metadata: Metadata = {
        "none": (),
        "wrong": (("authorization", f"Bearer mp_abcdefghij_{os.urandom(32).hex()}"),),
        "expired": controller.bearer(Role.ADMIN, expired=True),
    }[credentials]

    refusals = {name: controller.refusal(name, metadata) for name in controller.methods}

    assert dict.fromkeys(controller.methods, (UNAUTHENTICATED, expected)) == refusals


@pytest.mark.parametrize("role", list(INCLUDED))
def test_no_method_answers_an_insufficient_role(controller: Controller, role: Role) -> None:
    """
    Each role gets through to the methods that ask for it or for less, and to no other.
    """
    metadata = controller.bearer(role)
    insufficient = {name for name, method in controller.methods.items() if _role(name, method) not in INCLUDED[role]}

    refusals = {name: controller.refusal(name, metadata) for name in controller.methods}

    assert insufficient
    assert dict.fromkeys(insufficient, (DENIED, "ROLE_INSUFFICIENT")) == {name: refusals[name] for name in insufficient}
    admitted = {name: refusals[name] for name in controller.methods.keys() - insufficient}
    assert {} == {name: refusal for name, refusal in admitted.items() if refusal[1]}


def test_agents_listener_answers_nobody_without_a_certificate(controller: Controller) -> None:
    """
    On the agents' listener an admin's token opens nothing: without a client certificate there is no connection.
    """
    credentials = grpc.ssl_channel_credentials((controller.data_dir / "ca.pem").read_bytes())
    with grpc.secure_channel(controller.agents_address, credentials) as channel:
        codes = set()
        for name in controller.methods:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(name)
            with pytest.raises(grpc.RpcError) as caught:
                call(b"", metadata=controller.admin, timeout=30)
            codes.add(caught.value.code())

    assert {grpc.StatusCode.UNAVAILABLE} == codes
