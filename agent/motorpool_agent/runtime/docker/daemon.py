"""The Docker Engine of this machine: asked through the ``docker`` package, in threads, with deadlines."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from motorpool_agent.runtime.docker.errors import RefusedError, UnreachableError
from motorpool_agent.runtime.docker.threads import threaded

if TYPE_CHECKING:
    import docker

DEFAULT_ADDRESS = "unix:///var/run/docker.sock"
CALL_SECONDS = 30.0
_THREAD_SECONDS = 5.0

_Answer = TypeVar("_Answer")


def address() -> str:
    """Return where the Docker Engine is asked."""
    return os.environ.get("DOCKER_HOST") or DEFAULT_ADDRESS


def knock() -> None:
    """Raise ``OSError`` if nobody listens; the package would say so in four layers, and leave its socket open."""
    path = address().removeprefix("unix://")
    if path.startswith("/"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
            caller.settimeout(CALL_SECONDS)
            caller.connect(path)


class Daemon:
    """A connection that is made when it is first needed, and again after it failed.

    The package is imported then, too: with what it brings along it takes 12 MiB, which a node without containers saves.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: docker.APIClient | None = None

    async def call(
        self, ask: Callable[[docker.APIClient], _Answer], *, what: str, seconds: float = CALL_SECONDS
    ) -> _Answer:
        """Return an answer; raise ``UnreachableError`` or ``RefusedError``."""
        try:
            # A little more than the request's own deadline: the thread then says itself what happened.
            async with asyncio.timeout(seconds + _THREAD_SECONDS):
                return await threaded(lambda: self.ask(ask), what)
        except TimeoutError as error:
            raise UnreachableError(address(), f"no answer to {what} within {seconds:g} s") from error

    def ask(self, ask: Callable[[docker.APIClient], _Answer]) -> _Answer:
        """Return an answer, for those who are in a thread already."""
        # Imported late, see above.
        import docker.errors  # noqa: PLC0415
        import requests  # noqa: PLC0415

        try:
            knock()
            return ask(self._connected())
        except docker.errors.APIError as error:
            raise RefusedError(error.status_code or 0, str(error.explanation or error).strip()) from error
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            raise UnreachableError(address(), _innermost(error)) from error

    def close(self) -> None:
        """Close the connections that are idle."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _connected(self) -> docker.APIClient:
        import docker  # noqa: PLC0415
        import docker.utils  # noqa: PLC0415

        with self._lock:
            if self._client is None:
                # Asks for the version, so that an older engine is spoken to in its own.
                self._client = docker.APIClient(
                    version="auto", timeout=int(CALL_SECONDS), **docker.utils.kwargs_from_env()
                )
            return self._client


def _innermost(error: BaseException) -> str:
    """Return the cause in a few words: requests and urllib3 wrap it in four layers of names."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__ or error
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
