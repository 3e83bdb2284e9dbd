"""Whether the controller is well, part by part: told at once, out of what is known without asking."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from motorpool_controller.domain.errors import NotFoundError
from motorpool_controller.domain.names import shown
from motorpool_controller.store.store import Store

WHOLE = ""
"""The whole server, as gRPC's health service has it: whether calls are answered at all."""
WRITES = "motorpool.v1.Writes"
"""Whether changes are accepted."""
DECISIONS = "motorpool.v1.Decisions"
"""Whether instances are placed and moved."""
LOOK_SECONDS = 1.0
"""How soon who watches a part is told that it changed."""
_Status = health_pb2.HealthCheckResponse
_CheckContext = grpc.aio.ServicerContext[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse]


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # it comes without types
    """Answers gRPC's health service; the same is asked over HTTP."""

    def __init__(self, services: Iterable[str], *, look_seconds: float = LOOK_SECONDS) -> None:
        self.store: Store | None = None
        """What is served; None while another controller does that."""
        self._services = frozenset(services)
        self._look_seconds = look_seconds
        self._stopping = False
        self.undecided: Callable[[], str] = lambda: ""
        """Returns why nothing is decided any more, empty where things are."""

    def stop(self) -> None:
        """From now on nothing is served: new calls are to go elsewhere."""
        self._stopping = True

    def faults(self) -> Mapping[str, str]:
        """Return each part with what is wrong with it, empty where nothing is. May be asked from any thread."""
        store = self.store
        away = "the controller is stopping" if self._stopping else "it stands by" if store is None else ""
        # Without a token nobody is let in, and tokens stand in the database.
        served = away or (store.unreadable() if store is not None else "")
        return {
            WHOLE: served,
            **dict.fromkeys(self._services, served),
            WRITES: away or (store.unwritable() if store is not None else ""),
            DECISIONS: away or self.undecided(),
        }

    async def Check(  # noqa: N802  # gRPC's name
        self, request: health_pb2.HealthCheckRequest, context: _CheckContext
    ) -> health_pb2.HealthCheckResponse:
        """Say whether a part is well."""
        status = self._status(request.service)
        if status == _Status.SERVICE_UNKNOWN:
            raise NotFoundError("NOT_FOUND", f"there is no service {shown(request.service)} here whose health is known")
        return _Status(status=status)

    async def Watch(  # noqa: N802  # gRPC's name
        self, request: health_pb2.HealthCheckRequest, context: _CheckContext
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Say whether a part is well, and again whenever that changed."""
        told: int | None = None
        while True:
            status = self._status(request.service)
            if status != told:
                told = status
                yield _Status(status=status)
            await asyncio.sleep(self._look_seconds)

    def _status(self, service: str) -> int:
        fault = self.faults().get(service)
        return int(_Status.SERVICE_UNKNOWN if fault is None else _Status.NOT_SERVING if fault else _Status.SERVING)
