"""Whose node this machine is, and whether its controller answers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from motorpool_agent.config import Config
from motorpool_agent.identity.dial import dial_agents, split_endpoint
from motorpool_agent.identity.errors import IdentityError
from motorpool_agent.identity.store import Identity, IdentityStore
from motorpool_agent.main.doctor.findings import Finding, ok, problem, warning

_CONNECT_SECONDS = 3.0
_HANDSHAKE_SECONDS = 4.0


async def node(config: Config) -> list[Finding]:
    """Whether this machine is a node, and its certificate is in time."""
    try:
        identity = IdentityStore(config.data_dir).peek()
    except IdentityError as error:
        return [problem("node", str(error), "as it says; or run this as the agent's user (root: with sudo)")]
    if identity is None:
        return [_stranger(config)]
    return [_enrolled(identity)]


async def reachable(config: Config) -> list[Finding]:
    """Whether somebody answers at every endpoint, and is the controller of this node's cluster."""
    try:
        identity = IdentityStore(config.data_dir).peek()
    except IdentityError:
        identity = None
    if identity is not None:
        endpoints = identity.document.agent_endpoints
    elif config.server is not None:
        endpoints = (config.server,)
    else:
        return []
    return list(await asyncio.gather(*(_answer(endpoint, identity, config) for endpoint in endpoints)))


def _stranger(config: Config) -> Finding:
    if config.server is not None and (config.join_token or config.join_token_file):
        return ok("node", "not enrolled yet: `motorpool-agent run` does it with the token and server it is given")
    return warning(
        "node",
        f"not enrolled: {config.data_dir} holds no identity",
        "make a token with `motorpool-controller token join` and give it to `motorpool-agent run --server … "
        "--token-file …`; what is below works without",
    )


def _enrolled(identity: Identity) -> Finding:
    document, now = identity.document, datetime.now(UTC)
    who = f"{document.node} of cluster {document.cluster_id}"
    # Renewal is due at half-life.
    begin = document.renew_time - (document.expire_time - document.renew_time)
    if now < begin:
        return problem(
            "node",
            f"{who}: its certificate begins at {begin:%Y-%m-%d %H:%M} UTC, which this machine's clock is before",
            "set the clock: `timedatectl set-ntp true`",
        )
    if now >= document.expire_time:
        return problem(
            "node",
            f"{who}: its certificate expired at {document.expire_time:%Y-%m-%d %H:%M} UTC",
            "start the agent: a controller renews one that expired less than 30 days ago; else enrol again",
        )
    if now >= document.renew_time:
        return warning(
            "node",
            f"{who}: its certificate is not renewed, though due at {document.renew_time:%Y-%m-%d %H:%M} UTC",
            "see that the agent runs and reaches its controller",
        )
    return ok("node", f"{who}, certified until {document.expire_time:%Y-%m-%d %H:%M} UTC")


async def _answer(endpoint: str, identity: Identity | None, config: Config) -> Finding:
    if not config.use_proxy and (fault := await _unconnected(endpoint)):
        remedy = "see that the controller runs, and that name, route and firewall let this machine reach it"
        return problem("controller", f"{endpoint} does not answer: {fault}", remedy)
    if identity is None:
        return ok(
            "controller", f"{endpoint} {'is reached by the proxy' if config.use_proxy else 'accepts connections'}"
        )
    channel = dial_agents(identity, endpoint, use_proxy=config.use_proxy)
    try:
        async with asyncio.timeout(_HANDSHAKE_SECONDS):
            await channel.channel_ready()
    except TimeoutError:
        return problem(
            "controller",
            f"{endpoint} accepts connections, but not as the controller of cluster {identity.document.cluster_id} "
            "that knows this node's certificate",
            "see what listens there: another service, another cluster, or a proxy that ends TLS; and the clock",
        )
    finally:
        await channel.close()
    return ok("controller", f"{endpoint} answers as the controller of cluster {identity.document.cluster_id}")


async def _unconnected(endpoint: str) -> str:
    host, port = split_endpoint(endpoint)
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return f"no connection within {_CONNECT_SECONDS:g} s"
    except OSError as error:
        return error.strerror or str(error)
    writer.close()
    return ""
