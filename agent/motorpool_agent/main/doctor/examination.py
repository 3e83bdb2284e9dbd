"""All checks, each with its own deadline: one that fails or hangs is a line of the report, not its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from motorpool_agent.config import Config
from motorpool_agent.main.doctor import controller, directories, hardware, machine, policy
from motorpool_agent.main.doctor.findings import Finding, problem

Check = Callable[[Config], Awaitable[Sequence[Finding]]]

_CHECKS: tuple[tuple[str, float, Check], ...] = (
    ("data directory", 5.0, directories.data_directory),
    ("cache directory", 5.0, directories.cache_directory),
    ("node", 5.0, controller.node),
    ("controller", 15.0, controller.reachable),
    ("clock", 5.0, machine.clock),
    ("ports", 5.0, machine.ports),
    ("launch policy", 5.0, policy.launch_policy),
    ("containers", 10.0, machine.containers),
    # The agent's own deadlines for loading, devices and measurements, one after the other.
    ("plugins", 60.0, hardware.plugins),
)


async def examine(config: Config) -> list[Finding]:
    """Return what every check found, in their order."""
    found = await asyncio.gather(*(_checked(name, seconds, check, config) for name, seconds, check in _CHECKS))
    return [finding for findings in found for finding in findings]


async def _checked(name: str, seconds: float, check: Check, config: Config) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(seconds):
            return await check(config)
    except TimeoutError:
        return [problem(name, f"not known: the check did not end within {seconds:g} s", "run it again")]
    except Exception as error:  # noqa: BLE001  # a doctor who falls ill over one patient is of no use
        return [problem(name, f"not known: the check failed: {type(error).__name__}: {error}", "report this")]
