"""Desired objects, as a controller makes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from motorpool import v1


def assignment(assignment_id: str = "a1", generation: int = 1, **fields: Any) -> v1.DesiredObject:
    body = v1.Assignment(
        assignment_id=assignment_id,
        generation=generation,
        instance=f"instances/{assignment_id}",
        deployment="deployments/d",
        backend="llama_cpp",
        backend_version="1",
        framework="cpu",
        model=v1.ModelSource(local_path="/models/m.gguf"),
        claim=v1.Claim(memory_bytes=100),
        **fields,
    )
    return v1.DesiredObject(id=f"assignment/{assignment_id}", digest=f"{assignment_id}.{generation}", assignment=body)


def tombstone(assignment_id: str = "a1", generation: int = 1) -> v1.DesiredObject:
    body = v1.Tombstone(assignment_id=assignment_id, generation=generation)
    return v1.DesiredObject(id=f"tombstone/{assignment_id}", digest="t", tombstone=body)


def query(query_id: str, path: str, seconds: float = 30.0) -> v1.DesiredObject:
    deadline = Timestamp()
    deadline.FromDatetime(datetime.now(UTC) + timedelta(seconds=seconds))
    body = v1.Query(query_id=query_id, deadline=deadline, read_model=v1.ReadModelQuery(local_path=path))
    return v1.DesiredObject(id=f"query/{query_id}", digest="q", query=body)


def logs(subscription_id: str, assignment_id: str, *, seconds: float = 30.0, follow: bool = False) -> v1.DesiredObject:
    body = v1.LogSubscription(
        subscription_id=subscription_id,
        assignment_id=assignment_id,
        tail_lines=10,
        follow=follow,
        timeout=Duration(nanos=int(seconds % 1 * 1e9), seconds=int(seconds)),
    )
    return v1.DesiredObject(id=f"logs/{subscription_id}", digest="l", logs=body)


def everything(version: int, *objects: v1.DesiredObject, epoch: int = 1) -> v1.DesiredState:
    return v1.DesiredState(results_in=v1.DesiredVersion(controller_epoch=epoch, version=version), objects=objects)


def change(
    version: int, *objects: v1.DesiredObject, after: int, removed: tuple[str, ...] = (), epoch: int = 1
) -> v1.DesiredState:
    return v1.DesiredState(
        results_in=v1.DesiredVersion(controller_epoch=epoch, version=version),
        applies_to=v1.DesiredVersion(controller_epoch=epoch, version=after),
        objects=objects,
        removed=removed,
    )
