"""Puts the agent together, runs it, and takes it apart without touching what it runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from importlib.metadata import version
from pathlib import Path

from motorpool_agent.config import Config, ConfigError
from motorpool_agent.convert.inventory import host_message
from motorpool_agent.files.downloads import Downloads
from motorpool_agent.files.hubs import Hubs
from motorpool_agent.files.store import FileStore
from motorpool_agent.identity.dial import local_address
from motorpool_agent.identity.enrollment import enroll
from motorpool_agent.identity.renewal import Renewal
from motorpool_agent.identity.store import Identity, IdentityStore
from motorpool_agent.inventory import PluginTable, facts, lineage, measure
from motorpool_agent.inventory.care import HostCare
from motorpool_agent.inventory.resources import Bounds
from motorpool_agent.inventory.strangers import stranger
from motorpool_agent.observing.serving import observed
from motorpool_agent.policy import DEFAULT_FILE as POLICY_FILE
from motorpool_agent.policy import read as read_policy
from motorpool_agent.reconcile.attempts import Kept
from motorpool_agent.runtime.context import Timings
from motorpool_agent.runtime.proxies import engine_proxies
from motorpool_agent.runtime.room import Witness
from motorpool_agent.runtime.supervisor import Supervisor
from motorpool_agent.runtime.systemd.requests import SOCKET
from motorpool_agent.session.questions import Questions
from motorpool_agent.session.session import NodeReport, Session
from motorpool_agent.state.desired import DesiredRecord
from motorpool_agent.state.directory import DataDirectoryLock
from motorpool_formats import read_model
from motorpool_telemetry import tracing
from motorpool_telemetry.systemd import notify, watch

# How long a slow plugin holds up the first report: without it a restart of the agent would show a node without devices.
_PLUGINS_SECONDS = 10.0
_CLOSE_SECONDS = 5.0

log = logging.getLogger(__name__)


async def run(config: Config) -> None:
    """Enrol if needed, then run until SIGTERM or SIGINT. Instances outlive it."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop.set)
    with tracing.on(config.tracing_endpoint, service="motorpool-agent", instance=config.node_name):
        await _until(stop, _live(config))
    log.info("agent stopped")


async def join(config: Config, store: IdentityStore, *, node_id: str | None = None) -> Identity:
    """Buy an identity with the configured join token; ``node_id`` is the machine's where it has been a node."""
    token = config.token()
    if not token or config.server is None:
        missing = " and ".join(
            name for name, given in (("--token (or --token-file)", token), ("--server", config.server)) if not given
        )
        raise ConfigError(
            f"this machine is no node yet ({store.directory} holds no identity), and {missing} is missing; make a "
            "token on the controller with `motorpool-controller token join`, and give the public listener's host:port"
        )
    identity = await enroll(
        store,
        server=config.server,
        token=token,
        node_id=node_id or config.node_name,
        host=host_message(facts()),
        agent_version=version("motorpool-agent"),
        use_proxy=config.use_proxy,
    )
    log.info(
        "machine enrolled",
        extra={"node": identity.document.node, "cluster": identity.document.cluster_id, "server": config.server},
    )
    return identity


async def _live(config: Config) -> None:
    store = IdentityStore(config.data_dir)
    # Given back at once: the supervisor takes it for as long as it lives.
    with DataDirectoryLock(config.data_dir):
        identity = store.load() or await join(config, store)
        record = DesiredRecord(config.data_dir)
    document = identity.document
    host = host_message(facts())
    address = config.node_ip
    if address is None:
        address = await asyncio.to_thread(local_address, document.agent_endpoints[0])
    changed = asyncio.Event()
    policy = partial(read_policy, config.policy_file or POLICY_FILE, required=config.policy_file is not None)
    plugins = PluginTable(allow=config.allow_plugins, block=config.block_plugins, notify=changed.set)
    models = Downloads(
        FileStore(config.models),
        Hubs(
            hf_endpoint=config.hf_endpoint,
            hf_token_file=config.hf_token_file,
            modelscope_endpoint=config.modelscope_endpoint,
            modelscope_token_file=config.modelscope_token_file,
        ),
        reserved_bytes=config.reserved_disk_bytes,
        notify=changed.set,
    )
    supervisor = Supervisor(
        data_dir=config.data_dir,
        cache_dir=config.cache_dir,
        backends=plugins,
        address=address,
        ports=config.port_range,
        notify=changed.set,
        proxies=engine_proxies(address) if config.engine_proxy else {},
        cluster=document.cluster_id,
        bare=config.bare_executor,
        policy=policy,
        launcher=_launcher(config),
        witness=Witness(lineage, lambda pid: stranger(pid).words),
        timings=Timings(inference_period_seconds=config.inference_probe_seconds or None),
        kept=Kept(first=config.first_attempts, last=config.last_attempts),
        models=models,
    )

    async def delete(files_id: str, etag: str) -> int:
        return await models.delete(files_id, etag, lambda: supervisor.users_of(files_id))

    renewal = Renewal(store, identity, use_proxy=config.use_proxy)
    async with contextlib.AsyncExitStack() as closing:
        closing.push_async_callback(_bounded, plugins.close)
        closing.push_async_callback(_bounded, models.close)
        closing.push_async_callback(_bounded, supervisor.close)
        await models.open()
        # First, so that no instance waits for a vendor's code.
        await supervisor.adopt()
        await plugins.start()
        same_cluster = record.last is not None and record.last.cluster_id == document.cluster_id
        care = HostCare(
            Bounds(
                data_dir=config.data_dir,
                cache_dir=config.cache_dir,
                disk_low_bytes=config.disk_low_bytes,
                memory_low_bytes=config.memory_low_bytes,
            ),
            notify=changed.set,
        )
        await care.look()
        session = Session(
            renewal=renewal,
            report=NodeReport(
                agent_instance_id=str(uuid.uuid4()),
                agent_version=version("motorpool-agent"),
                host=host,
                address=address,
                labels=config.labels,
                reserved_memory_bytes=config.reserved_memory_bytes,
                reserved_device_memory_bytes=config.reserved_device_memory_bytes,
            ),
            instances=supervisor,
            plugins=plugins,
            questions=Questions(read=supervisor.reader(read_model), notify=changed.set, delete=delete),
            measure=measure,
            care=care,
            record=partial(record.accept, document.cluster_id),
            accepted=record.last.version if record.last is not None and same_cluster else None,
            changed=changed,
            use_proxy=config.use_proxy,
            models=models,
        )
        renewal.on_renewed(session.reconnect)
        log.info("agent started", extra={"node": document.node, "address": address})
        notify("READY=1")
        async with observed(config.metrics_listen, session, supervisor, plugins), asyncio.TaskGroup() as tasks:
            tasks.create_task(watch(session.stalled))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PLUGINS_SECONDS):
                    await plugins.wait_ready()
            tasks.create_task(session.run())


def _launcher(config: Config) -> Path | None:
    """Return the socket of the launcher: the configured one, or that of one that is installed, for who is not root."""
    if os.geteuid() == 0:
        return None
    return config.launcher or (Path(SOCKET) if Path(SOCKET).exists() else None)


async def _until(stop: asyncio.Event, work: Coroutine[None, None, None]) -> None:
    """Run ``work`` until told to stop; it never ends by itself but by raising."""
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not working.done():
            notify("STOPPING=1")
        for task in (working, stopping):
            task.cancel()
        await asyncio.wait({working, stopping})
    if not working.cancelled():
        working.result()


async def _bounded(close: Callable[[], Awaitable[None]]) -> None:
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await close()
    except TimeoutError:
        log.warning("not closed in time", extra={"what": getattr(close, "__qualname__", "?")})
