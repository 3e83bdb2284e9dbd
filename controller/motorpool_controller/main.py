"""The ``motorpool-controller`` command. Exit codes: 0 done, 1 failed, 2 usage or configuration, 5 data directory."""

from __future__ import annotations

import asyncio
import logging
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from motorpool_controller.catalog.cache import FactsCache
from motorpool_controller.catalog.catalog import Catalog
from motorpool_controller.catalog.hubs import HUBS
from motorpool_controller.config import Settings
from motorpool_controller.loops.reconciler import Reconciler
from motorpool_controller.options import Advertise, AgentsListen, ConfigFile, DataDir, Listen, faults, settings_of
from motorpool_controller.security.authority import Authority
from motorpool_controller.services.agents import AgentService
from motorpool_controller.services.backends import BackendService
from motorpool_controller.services.cluster import ClusterService
from motorpool_controller.services.deployments import DeploymentService
from motorpool_controller.services.enrollment import EnrollmentService
from motorpool_controller.services.events import EventService
from motorpool_controller.services.initialization import initialise_data_dir
from motorpool_controller.services.instances import InstanceService
from motorpool_controller.services.logformat import log_to_stderr
from motorpool_controller.services.models import ModelService
from motorpool_controller.services.nodes import NodeService
from motorpool_controller.services.notify import notify
from motorpool_controller.services.offline import inspect_offline
from motorpool_controller.services.offline_plans import PLACES, plan_of_files
from motorpool_controller.services.server import Server
from motorpool_controller.services.tokens import TokenService
from motorpool_controller.services.watch import WatchService
from motorpool_controller.store.database import open_database
from motorpool_controller.store.errors import FencedError, StoreError
from motorpool_controller.store.live import Live
from motorpool_controller.store.lock import DataDirLock
from motorpool_controller.store.store import Store
from motorpool_controller.token_commands import tokens_app

STORE_RETRY_SECONDS = 5.0

log = logging.getLogger("motorpool_controller")

app = typer.Typer(
    name="motorpool-controller",
    help="The Motorpool controller: decides where models run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(tokens_app, name="token")


def main() -> None:
    """Run the command line."""
    app()


@app.command()
def init(
    data_dir: DataDir = None,
    config_file: ConfigFile = None,
    listen: Listen = None,
    agents_listen: AgentsListen = None,
    advertise: Advertise = None,
) -> None:
    """Make a cluster: its authority, its database, an admin's token in DATA_DIR/client.toml."""
    with faults():
        settings = settings_of(data_dir, config_file, listen, agents_listen, advertise)
        made = initialise_data_dir(settings)
    where = "" if data_dir is None else f" --data-dir {shlex.quote(str(settings.data_dir))}"
    given = [("--listen", listen), ("--agents-listen", agents_listen)]
    given += [("--advertise", host) for host in advertise or ()]
    same = "".join(f" {flag} {shlex.quote(value)}" for flag, value in given if value)
    typer.echo(
        f"Made cluster {made.cluster_id} in {settings.data_dir}.\n"
        f"{made.client_file} holds an admin's token: keep it to yourself.\n"
        f"Its authority's fingerprint, by which others know it (`motorpool login --ca-fingerprint`):\n"
        f"  {made.fingerprint}\n\n"
        "Start the controller:\n"
        f"  motorpool-controller run{where}{same}\n"
        "Print a token with which one machine can join:\n"
        f"  motorpool-controller token join{where}\n"
        "Ask the controller:\n"
        f"  motorpool --config {shlex.quote(str(made.client_file))} nodes"
    )


@app.command()
def run(
    data_dir: DataDir = None,
    config_file: ConfigFile = None,
    listen: Listen = None,
    agents_listen: AgentsListen = None,
    advertise: Advertise = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Run the controller until SIGTERM or SIGINT."""
    with faults():
        settings = settings_of(data_dir, config_file, listen, agents_listen, advertise, log_level)
        if not settings.database.exists():
            # Says so before it makes a lock file in a folder that is not ours.
            open_database(settings.database)
        log_to_stderr(settings.log_level)
        with DataDirLock(settings.data_dir):
            asyncio.run(_serve(settings))


@app.command()
def inspect(
    source: Annotated[str, typer.Argument(help="/path[:FILE] here, hf:OWNER/NAME[:FILE][@REVISION], ms:OWNER/NAME.")],
    parameters: Annotated[list[str] | None, typer.Argument(help="After `--`: the engine's, to estimate with.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print it as `motorpool model inspect -o json` does.")] = False,
    data_dir: DataDir = None,
    config_file: ConfigFile = None,
) -> None:
    """Say what a model's headers say and what it needs, without a controller; of a path also without a network."""
    with faults():
        typer.echo(inspect_offline(source, settings_of(data_dir, config_file), parameters or (), as_json=json))


@app.command()
def plan(
    fleet: Annotated[Path, typer.Option(help="JSON with nodes, backends and instances.")],
    deployment: Annotated[Path, typer.Option(help="JSON of a deployment, with its model's facts.")],
    output: Annotated[str, typer.Option("--output", "-o", help="text or json.")] = "text",
    places: Annotated[int, typer.Option(help="So many places of the first instance are told; 0 means all.")] = PLACES,
    skip: Annotated[int, typer.Option(help="After so many of the best.")] = 0,
) -> None:
    """Say where a deployment would go in a fleet on file, and why not elsewhere; without a server or a network."""
    with faults():
        typer.echo(plan_of_files(fleet, deployment, output, places=places, skip=skip))


def public_services(
    store: Store, live: Live, authority: Authority, catalog: Catalog, endpoints: Sequence[str]
) -> list[object]:
    """Return what people, programs and joining machines may call; ``endpoints`` are those of the agents' listener."""
    return [
        BackendService(store),
        ClusterService(store, endpoints),
        DeploymentService(store, live, catalog),
        EnrollmentService(store, authority, endpoints),
        EventService(store),
        InstanceService(store, live),
        ModelService(store, live, catalog),
        NodeService(store, live),
        TokenService(store, authority),
        WatchService(store, live),
    ]


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    _on_signals(stop)
    async with await Store.open(settings.database) as store:
        authority = Authority.load(settings.data_dir, store.view.cluster_id)
        live = Live()
        catalog = Catalog(
            HUBS,
            FactsCache(settings.catalog),
            seconds=settings.hub_seconds,
            at_once=settings.hub_look_ups_at_once,
        )
        server = Server(settings, store, authority)
        await server.start(
            public=public_services(store, live, authority, catalog, server.agent_endpoints),
            agents=[AgentService(store, live, authority, settings)],
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                deciding = tasks.create_task(_decide(Reconciler(store, live, catalog, settings)), name="reconciler")
                fenced = tasks.create_task(store.wait_fenced(), name="fence")
                stopping = tasks.create_task(stop.wait(), name="signals")
                log.info(
                    "controller ready",
                    extra={
                        "listen": server.public_address,
                        "agents_listen": server.agents_address,
                        "cluster": store.view.cluster_id,
                        "epoch": store.view.controller_epoch,
                        "data_dir": settings.data_dir,
                    },
                )
                notify(f"READY=1\nSTATUS=serving on {server.public_address}, agents on {server.agents_address}")
                await asyncio.wait((fenced, stopping), return_when=asyncio.FIRST_COMPLETED)
                lost = fenced.done()
                for task in (deciding, fenced, stopping):
                    task.cancel()
        finally:
            notify("STOPPING=1")
            await server.stop()
            await catalog.close()
    if lost:
        raise FencedError(
            f"another motorpool-controller opened {settings.database} after this one, which has stopped; let one of "
            "them run"
        )
    log.info("controller stopped")


async def _decide(reconciler: Reconciler) -> None:
    """Keep the loop going while the store cannot be written; what it watches is not lost, it reads everything anew."""
    while True:
        try:
            await reconciler.run()
        except StoreError as error:
            log.error("nothing decided", extra={"error": error, "retry_seconds": STORE_RETRY_SECONDS})  # noqa: TRY400  # the message says it all
            await asyncio.sleep(STORE_RETRY_SECONDS)


def _on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        if sys.platform == "win32":
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
        else:
            loop.add_signal_handler(number, stop.set)
