"""Rows that tests put into a store."""

from collections.abc import Callable
from datetime import UTC, datetime

from motorpool_controller.domain.controllers import Controller
from motorpool_controller.domain.event import Event, Severity
from motorpool_controller.domain.fleet import Node
from motorpool_controller.domain.placement import Claim, DeviceClaim, Member, Placement
from motorpool_controller.domain.workload import (
    Deployment,
    DeploymentSpec,
    Instance,
    ModelSource,
    SourceKind,
)
from motorpool_controller.store.transaction import Transaction

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)


def node(identifier: str, *, address: str = "") -> Node:
    return Node(
        name=f"nodes/{identifier}",
        uid=f"uid-{identifier}",
        enrollment_id=f"enrollment-{identifier}",
        create_time=NOW,
        address=address,
    )


def deployment(identifier: str) -> Deployment:
    return Deployment(
        name=f"deployments/{identifier}",
        uid=f"uid-{identifier}",
        spec=DeploymentSpec(model=ModelSource(kind=SourceKind.LOCAL_PATH, path="/models/m.gguf")),
        create_time=NOW,
    )


def instance(identifier: str, *, memory_bytes: int | None = None, device_bytes: int = 0) -> Instance:
    placement = None
    if memory_bytes is not None:
        devices = (DeviceClaim("gpu-0", device_bytes),) if device_bytes else ()
        placement = Placement(
            members=(Member(node="nodes/a", claim=Claim(memory_bytes=memory_bytes, devices=devices)),),
            framework="cpu",
            backend="llama_cpp",
            backend_version="1",
        )
    return Instance(
        name=f"instances/{identifier}",
        uid=f"uid-{identifier}",
        deployment="deployments/d",
        deployment_generation=1,
        create_time=NOW,
        state_time=NOW,
        placement=placement,
    )


def putting(*rows: Node | Instance) -> Callable[[Transaction], None]:
    """Return a change that puts nodes and instances."""

    def change(tx: Transaction) -> None:
        for row in rows:
            if isinstance(row, Node):
                tx.nodes.put(row)
            else:
                tx.instances.put(row)

    return change


def deleting(name: str) -> Callable[[Transaction], None]:
    """Return a change that deletes an instance."""
    return lambda tx: tx.instances.delete(name)


def telling(subject: str, message: str) -> Callable[[Transaction], Event]:
    """Return a change that tells of an event."""
    return lambda tx: tx.event(Severity.INFO, "X", subject, message)


ME = Controller(
    name="controller:7400",
    public_endpoints=("controller:7400",),
    agent_endpoints=("controller:7401",),
    start_time=NOW,
)
