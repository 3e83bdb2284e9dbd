"""The one thing that a name names."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from motorpool import v1
from motorpool_cli.client import TIMEOUT_SECONDS, Client

Named = v1.Deployment | v1.Instance | v1.Node | v1.Backend


def _deployment(connected: Client, name: str) -> v1.Deployment:
    return connected.deployments.GetDeployment(v1.GetDeploymentRequest(name=name), timeout=TIMEOUT_SECONDS)


def _instance(connected: Client, name: str) -> v1.Instance:
    return connected.instances.GetInstance(v1.GetInstanceRequest(name=name), timeout=TIMEOUT_SECONDS)


def _node(connected: Client, name: str) -> v1.Node:
    return connected.nodes.GetNode(v1.GetNodeRequest(name=name), timeout=TIMEOUT_SECONDS)


def _backend(connected: Client, name: str) -> v1.Backend:
    return connected.backends.GetBackend(v1.GetBackendRequest(name=name), timeout=TIMEOUT_SECONDS)


GETTERS: Mapping[str, Callable[[Client, str], Named]] = {
    "deployments": _deployment,
    "instances": _instance,
    "nodes": _node,
    "backends": _backend,
}
"""By collection, what gives one by its full name; NOT_FOUND where there is none."""
