"""A cluster of a few enrolled nodes on disk, made once and copied for every example."""

from __future__ import annotations

from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from motorpool import v1
from motorpool_agent.identity.store import Document, Identity, IdentityStore
from motorpool_controller.config import Address, Settings
from motorpool_controller.security.authority import key_pem
from motorpool_controller.services.callers import Caller
from motorpool_controller.services.initialization import initialise_data_dir
from motorpool_controller.services.roles import Role
from motorpool_controller.services.tokens import make_token
from tests.session.controller import ControllerProcess
from tests.session.loops import Clock, end
from tests.session.network import Network

MODEL = "model.gguf"


def settings(directory: Path, **changes: Any) -> Settings:
    nowhere = Address("127.0.0.1", 0)
    return Settings(
        **{
            "data_dir": directory / "controller",
            "listen": nowhere,
            "agents_listen": nowhere,
            "mass_failure_nodes": 2,
            "mass_failure_fraction": 0.5,
            **changes,
        }
    )


def disk_of(directory: Path, node: str) -> Path:
    return directory / "disks" / node.removeprefix("nodes/")


def make(directory: Path, nodes: list[str]) -> None:
    """Initialise a cluster, and enrol these nodes."""
    made, clock = settings(directory), Clock()
    initialise_data_dir(made)
    (directory / MODEL).touch()
    controller = ControllerProcess(made, clock, Network(clock))
    token_id = join_token(controller)
    for node in nodes:
        IdentityStore(disk_of(directory, node)).save(enrol(controller, node, token_id))
    controller.kill()
    end(controller.loop)


def join_token(controller: ControllerProcess) -> str:
    """Store a token with which any number of machines may join, and return its id."""
    token, _ = make_token(Role.JOIN, "", timedelta(hours=1), -1, now=controller.clock.now(), ca_fingerprint="sha256:x")
    controller.store.tokens.add(token)
    return token.token_id


def enrol(controller: ControllerProcess, node: str, token_id: str) -> Identity:
    """Have a machine become a node, and return what it keeps."""
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    machine = f"machine-{node.removeprefix('nodes/')}"
    call = controller.call(
        "EnrollmentService/Enroll",
        v1.EnrollRequest(
            node_id=node.removeprefix("nodes/"),
            csr_pem=csr.public_bytes(Encoding.PEM).decode(),
            enrollment_id=machine,
        ),
        v1.EnrollResponse.FromString,
        caller=Caller(role=Role.JOIN, token_id=token_id),
    )
    while not call.done():
        controller.loop.step()
    answer = call.result()
    document = Document(
        cluster_id=answer.cluster_id,
        node=answer.node,
        node_uid=answer.node_uid,
        agent_endpoints=("controller:7401",),
        renew_time=answer.renew_time.ToDatetime(UTC),
        expire_time=answer.expire_time.ToDatetime(UTC),
        enrollment_id=machine,
    )
    return Identity(
        document=document,
        key_pem=key_pem(key).decode(),
        certificate_pem=answer.certificate_pem,
        ca_pem=answer.ca_pem,
    )
