"""Runs one of this package's modules in a short-lived process and takes its JSON answer."""

from __future__ import annotations

import asyncio
import sys

import msgspec

from motorpool_agent.identity.errors import IdentityError

_TIMEOUT_SECONDS = 60.0


async def answer_of(module: str, *arguments: str) -> dict[str, str]:
    """Return what ``python -m module arguments`` printed as JSON."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        # -P: a file of the working directory must not pass for one of ours.
        "-P",
        "-m",
        module,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            output, errors = await process.communicate()
    except TimeoutError as error:
        raise IdentityError(f"{module} gave no answer within {_TIMEOUT_SECONDS:.0f} s; try again") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        return msgspec.json.decode(output, type=dict[str, str])
    except msgspec.MsgspecError as error:
        last = errors.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no output"]
        raise IdentityError(
            f"{module} failed with status {process.returncode}: {last[0]}; is motorpool-agent installed whole?"
        ) from error
