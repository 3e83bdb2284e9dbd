"""Images: is one here, and if not, pull it and say how far it came."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from motorpool_agent.runtime.docker.daemon import Daemon
from motorpool_agent.runtime.docker.errors import RefusedError, UnreachableError
from motorpool_agent.runtime.docker.threads import threaded
from motorpool_agent.runtime.errors import LaunchError
from motorpool_agent.runtime.executor import Progress

if TYPE_CHECKING:
    import docker

_MALFORMED = 400
_NOT_FOUND = 404
_SAY_SECONDS = 0.5


async def ensure(daemon: Daemon, image: str, progress: Progress) -> None:
    """Return when the image is on this machine; pull it if it is not. Raise ``LaunchError`` if it cannot be had."""
    try:
        await daemon.call(lambda client: client.inspect_image(image), what="inspect image")
    except RefusedError as error:
        if error.status == _MALFORMED:
            raise LaunchError(
                "IMAGE_INVALID",
                f"{image[:200]} is no image's name: {error.explanation}; correct the deployment",
                final=True,
            ) from error
        if error.status != _NOT_FOUND:
            raise LaunchError(error.reason, error.message) from error
    except UnreachableError as error:
        raise LaunchError(error.reason, error.message) from error
    else:
        return
    progress(f"image {image}: pulling", None, None)
    await _pull(daemon, image, progress)


async def _pull(daemon: Daemon, image: str, progress: Progress) -> None:
    loop = asyncio.get_running_loop()
    pull = Pull(image, lambda *said: loop.call_soon_threadsafe(progress, *said))
    try:
        # No deadline for the whole: an image may take hours. The request's own is for silence.
        await threaded(lambda: daemon.ask(pull), "pull")
    except RefusedError as error:
        raise _failed(image, error.explanation) from error
    except UnreachableError as error:
        raise LaunchError(error.reason, f"{image} could not be pulled: {error.message}") from error
    finally:
        pull.given_up.set()


class Pull:
    """One pull, carried out in a thread until it is done or given up."""

    def __init__(self, image: str, say: Callable[[str, int | None, int | None], object]) -> None:
        self.given_up = threading.Event()
        self._image = image
        self._say = say
        self._layers: dict[str, tuple[int, int]] = {}

    def __call__(self, client: docker.APIClient) -> None:
        """Pull; raise ``LaunchError`` with the registry's word if that does not work."""
        import docker.utils  # noqa: PLC0415  # see Daemon

        repository, tag = docker.utils.parse_repository_tag(self._image)
        messages = client.pull(repository, tag=tag or "latest", stream=True, decode=True)
        said_at, fault = 0.0, ""
        for message in messages:
            if self.given_up.is_set():
                messages.close()
                return
            # It is the last word but for the end, which gives the connection back.
            fault = str(message.get("error") or fault)
            before = self._percent()
            self._count(message)
            if time.monotonic() - said_at >= _SAY_SECONDS or self._percent() != before:
                said_at = time.monotonic()
                self._say(f"image {self._image}: pulling", *self.bytes())
        if fault:
            raise _failed(self._image, fault)

    def bytes(self) -> tuple[int | None, int | None]:
        """Return how much was fetched and how much there is, as far as the layers' sizes are known."""
        if not self._layers:
            return None, None
        return sum(done for done, _ in self._layers.values()), sum(total for _, total in self._layers.values())

    def _count(self, message: dict[str, Any]) -> None:
        layer, detail = message.get("id", ""), message.get("progressDetail") or {}
        if message.get("status") == "Downloading" and detail.get("total"):
            self._layers[layer] = (int(detail.get("current", 0)), int(detail["total"]))
        elif message.get("status") in {"Download complete", "Pull complete"} and layer in self._layers:
            total = self._layers[layer][1]
            self._layers[layer] = (total, total)

    def _percent(self) -> int:
        done, total = self.bytes()
        return 100 * done // total if done is not None and total else 0


def _failed(image: str, said: str) -> LaunchError:
    if "no space left" in said:
        return LaunchError(
            "DISK_FULL",
            f"{image} could not be pulled, the Docker Engine's disk is full: {said}; `docker system df` "
            "shows what takes the room, `docker image prune` frees some",
        )
    return LaunchError(
        "IMAGE_PULL_FAILED",
        f"{image} could not be pulled: {said}; `docker pull {image}` on the node shows the same; "
        "log in there with `docker login` as the agent's user, correct the image, or bring it with `docker load`",
    )
