"""Whole lists out of the API's pages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from motorpool import v1
from motorpool_cli import text
from motorpool_cli.client import TIMEOUT_SECONDS, Client

T = TypeVar("T")
PAGE_SIZE = 100
"""Of nodes with eight devices the controller makes so many in some five milliseconds, in which it does nothing else."""


def pages(fetch: Callable[[str], tuple[list[T], str]]) -> list[T]:
    """Return the items of all pages; ``fetch`` takes a page token and gives items and the next token."""
    items, token = fetch("")
    while token:
        more, token = fetch(token)
        items.extend(more)
    return items


def list_nodes(connected: Client) -> list[v1.Node]:
    """Return all nodes."""

    def fetch(token: str) -> tuple[list[v1.Node], str]:
        request = v1.ListNodesRequest(page_size=PAGE_SIZE, page_token=token)
        answer = connected.nodes.ListNodes(request, timeout=TIMEOUT_SECONDS)
        return list(answer.nodes), answer.next_page_token

    return pages(fetch)


def list_devices(connected: Client) -> list[v1.DeviceStatus]:
    """Return the devices of all nodes."""

    def fetch(token: str) -> tuple[list[v1.DeviceStatus], str]:
        request = v1.ListDevicesRequest(parent="nodes/-", page_size=PAGE_SIZE, page_token=token)
        answer = connected.nodes.ListDevices(request, timeout=TIMEOUT_SECONDS)
        return list(answer.devices), answer.next_page_token

    return pages(fetch)


def list_backends(connected: Client) -> list[v1.Backend]:
    """Return all backends."""

    def fetch(token: str) -> tuple[list[v1.Backend], str]:
        request = v1.ListBackendsRequest(page_size=PAGE_SIZE, page_token=token)
        answer = connected.backends.ListBackends(request, timeout=TIMEOUT_SECONDS)
        return list(answer.backends), answer.next_page_token

    return pages(fetch)


def list_deployments(connected: Client) -> list[v1.Deployment]:
    """Return all deployments."""

    def fetch(token: str) -> tuple[list[v1.Deployment], str]:
        request = v1.ListDeploymentsRequest(page_size=PAGE_SIZE, page_token=token)
        answer = connected.deployments.ListDeployments(request, timeout=TIMEOUT_SECONDS)
        return list(answer.deployments), answer.next_page_token

    return pages(fetch)


def list_instances(connected: Client, deployment: str = "") -> list[v1.Instance]:
    """Return all instances, or those of one deployment."""

    def fetch(token: str) -> tuple[list[v1.Instance], str]:
        request = v1.ListInstancesRequest(
            deployment=text.full("deployments", deployment) if deployment else "",
            page_size=PAGE_SIZE,
            page_token=token,
        )
        answer = connected.instances.ListInstances(request, timeout=TIMEOUT_SECONDS)
        return list(answer.instances), answer.next_page_token

    return pages(fetch)


def list_tokens(connected: Client) -> list[v1.Token]:
    """Return all tokens, without their secrets."""

    def fetch(token: str) -> tuple[list[v1.Token], str]:
        request = v1.ListTokensRequest(page_size=PAGE_SIZE, page_token=token)
        answer = connected.tokens.ListTokens(request, timeout=TIMEOUT_SECONDS)
        return list(answer.tokens), answer.next_page_token

    return pages(fetch)


def list_events(
    connected: Client, subject: str, *, node: str = "", limit: int | None = None, since: datetime | None = None
) -> list[v1.Event]:
    """Return the latest events, the latest last: about a resource, of a node, at most so many, not older than this."""
    left = limit

    def fetch(token: str) -> tuple[list[v1.Event], str]:
        nonlocal left
        size = PAGE_SIZE if left is None else min(left, PAGE_SIZE)
        request = v1.ListEventsRequest(subject=subject, node=node, page_size=size, page_token=token)
        answer = connected.events.ListEvents(request, timeout=TIMEOUT_SECONDS)
        found = [each for each in answer.events if since is None or each.time.ToDatetime(UTC) >= since]
        left = None if left is None else left - len(found)
        # The latest come first: behind one that is too old there is none that is not.
        is_all = left == 0 or len(found) < len(answer.events)
        return found, "" if is_all else answer.next_page_token

    return list(reversed(pages(fetch)))
