"""A deployment and its instances as they change, for commands that wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

import grpc

from motorpool import v1
from motorpool_cli.client import TIMEOUT_SECONDS, Client
from motorpool_cli.lists import list_instances

_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS = 0.2, 5.0
# Away, slow, or with too much to do, as when all of its watchers come back at once.
_AGAIN = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED})


def follow(
    connected: Client, name: str, timeout_seconds: float, note: Callable[[str], None]
) -> Iterator[v1.WatchResponse]:
    """Give the deployment and its instances as they are, then every change; raise TimeoutError when time is over.

    A controller that goes away is waited for, and the watch goes on where it was.
    """
    asked = v1.WatchRequest(kinds=["deployments", "instances"], deployment=name)
    return follow_from(connected, asked, lambda: _present(connected, name), timeout_seconds, note)


def follow_from(
    connected: Client,
    asked: v1.WatchRequest,
    present: Callable[[], Iterable[v1.WatchResponse]],
    timeout_seconds: float,
    note: Callable[[str], None],
) -> Iterator[v1.WatchResponse]:
    """Give what ``present`` gives, then every change after it of what is asked; ``follow`` says the rest."""
    deadline = time.monotonic() + timeout_seconds
    token, delay_seconds = "", _FIRST_DELAY_SECONDS
    while True:
        try:
            if not token:
                # The token first: whatever happens after it, the watch shows.
                listed = connected.deployments.ListDeployments(
                    v1.ListDeploymentsRequest(page_size=1), timeout=min(TIMEOUT_SECONDS, _left(deadline))
                )
                yield from present()
                token = listed.resume_token
            request = v1.WatchRequest(
                kinds=asked.kinds, deployment=asked.deployment, node=asked.node, resume_token=token
            )
            for change in connected.watch.Watch(request, timeout=_left(deadline)):
                token, delay_seconds = change.resume_token or token, _FIRST_DELAY_SECONDS
                yield change
        except grpc.RpcError as error:
            code = error.code() if isinstance(error, grpc.Call) else None
            if code is grpc.StatusCode.OUT_OF_RANGE:  # away for longer than changes are kept: start over
                token = ""
            elif code not in _AGAIN:
                raise
            elif time.monotonic() < deadline and delay_seconds == 2 * _FIRST_DELAY_SECONDS:
                # Once is nothing to tell: one controller leaves, and another one leads.
                note("The controller does not answer; waiting for it.")
        time.sleep(min(delay_seconds, _left(deadline)))
        delay_seconds = min(2 * delay_seconds, _LONGEST_DELAY_SECONDS)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _present(connected: Client, name: str) -> Iterator[v1.WatchResponse]:
    try:
        found = connected.deployments.GetDeployment(v1.GetDeploymentRequest(name=name), timeout=TIMEOUT_SECONDS)
    except grpc.RpcError as error:
        if isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.NOT_FOUND:
            yield v1.WatchResponse(deleted=name)
            return
        raise
    # Instances first, as they change before their deployment does.
    for instance in list_instances(connected, name):
        yield v1.WatchResponse(instance=instance)
    yield v1.WatchResponse(deployment=found)
