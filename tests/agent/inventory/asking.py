"""A launch request, and waiting for what must come about."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from motorpool_sdk import LaunchRequest


def launch_request() -> LaunchRequest:
    return LaunchRequest(
        backend_version="1.0",
        framework="cpu",
        model_path=Path("/models/m.gguf"),
        served_model_name="m",
        listen_address="127.0.0.1",
        port=4001,
        api_key="sesame-open",
    )


async def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until ``true()``; fail after a while."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not true():
        assert asyncio.get_running_loop().time() < deadline, "what was waited for did not come about"
        await asyncio.sleep(0.01)
