"""Which launch policy holds, and whether there is any."""

from __future__ import annotations

import asyncio

from motorpool_agent.config import Config
from motorpool_agent.main.doctor.findings import Finding, ok, problem, warning
from motorpool_agent.policy import DEFAULT_FILE, PolicyError, read


async def launch_policy(config: Config) -> list[Finding]:
    """What a controller may have run here."""
    file = config.policy_file or DEFAULT_FILE
    try:
        policy = await asyncio.to_thread(read, file, required=config.policy_file is not None)
    except PolicyError as error:
        what, _, remedy = str(error).rpartition("; ")
        return [problem("launch policy", f"{what}; nothing is launched before that", remedy)]
    if not policy.source:
        return [
            warning(
                "launch policy",
                "none: whoever holds the controller may run any program and image, and read models from any folder",
                f"write {file}: which roots, executables and images there are on this node",
            )
        ]
    roots = ", ".join(policy.roots) or "none"
    programs = ", ".join(policy.executables) or "none"
    images = ", ".join(policy.images) or "none"
    return [ok("launch policy", f"{policy.source}: models in {roots}; programs {programs}; images {images}")]
