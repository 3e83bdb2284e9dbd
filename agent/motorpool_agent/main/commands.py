"""``motorpool-agent``: its commands, options and exit codes."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Annotated

import typer

from motorpool_agent.config import Config, ConfigError, load
from motorpool_agent.identity.errors import IdentityError
from motorpool_agent.identity.store import IdentityStore
from motorpool_agent.main import agent, bundle_commands, devices, doctor, engines, installing
from motorpool_agent.main.output import checked_format, document
from motorpool_agent.main.report import as_text, status_of
from motorpool_agent.main.survey import survey
from motorpool_agent.runtime.errors import RuntimeFault
from motorpool_agent.state.directory import DataDirectoryLock
from motorpool_agent.state.errors import StateError
from motorpool_telemetry.errors import TelemetryError
from motorpool_telemetry.logformat import log_to_stderr

EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_REFUSED = 4
EXIT_STATE = 5
EXIT_ENGINE = 6
EXIT_UNSOUND = 7

app = typer.Typer(
    name="motorpool-agent",
    help="Reports this machine's devices to a Motorpool controller and runs what it assigns.",
    epilog="Exit codes: 0 done, 1 a fault of the agent, 2 usage or configuration, 3 controller unreachable, "
    "4 refused by the controller, 5 data directory in use or unusable, 6 engine not installed, "
    "7 devices or doctor found something that does not work.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
engine_app = typer.Typer(help="Engines' environments on this machine.", no_args_is_help=True)
app.add_typer(engine_app, name="engine")
installing.add_to(app)

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="TOML file; default /etc/motorpool/agent.toml where there is one."),
]
DataDir = Annotated[str | None, typer.Option("--data-dir", metavar="DIR", help="Where the agent keeps its state.")]
CacheDir = Annotated[
    str | None, typer.Option("--cache-dir", metavar="DIR", help="Where downloads are kept; may be emptied at any time.")
]
NodeName = Annotated[str | None, typer.Option("--node-name", help="Name of the node; default: the host's name.")]
Server = Annotated[
    str | None, typer.Option("--server", metavar="HOST:PORT", help="The controller's public listener, to enrol.")
]
Token = Annotated[
    str | None,
    typer.Option("--token", help="Join token; others on the machine can see it in `ps`, so prefer --token-file."),
]
TokenFile = Annotated[str | None, typer.Option("--token-file", metavar="FILE", help="File that holds the join token.")]
UseProxy = Annotated[
    bool | None,
    typer.Option("--use-proxy/--no-use-proxy", help="Reach the controller through https_proxy; default: no."),
]
AllowPlugin = Annotated[list[str] | None, typer.Option(help="Load only these plugins; repeatable.")]
BlockPlugin = Annotated[list[str] | None, typer.Option(help="Never load these plugins; repeatable.")]
Output = Annotated[str, typer.Option("--output", "-o", help="text, json or yaml.")]
LogLevel = Annotated[str | None, typer.Option("--log-level", help="debug, info, warning or error.")]
LogFormat = Annotated[str | None, typer.Option("--log-format", help="text or json.")]


@app.command("run")
def run_command(
    config: ConfigFile = None,
    node_name: NodeName = None,
    node_ip: Annotated[str | None, typer.Option(help="Address at which instances are reached.")] = None,
    data_dir: DataDir = None,
    cache_dir: CacheDir = None,
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Label of the node; repeatable.")] = None,
    server: Server = None,
    token: Token = None,
    token_file: TokenFile = None,
    port_range: Annotated[str | None, typer.Option(metavar="FIRST-LAST", help="Ports for instances.")] = None,
    reserved_memory: Annotated[str | None, typer.Option(metavar="SIZE", help="Host memory kept back.")] = None,
    reserved_device_memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Memory kept back of each device.")
    ] = None,
    reserved_disk: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Disk that downloads of models leave free.")
    ] = None,
    model_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where models are kept that were fetched from hubs.")
    ] = None,
    hf_endpoint: Annotated[str | None, typer.Option(metavar="URL", help="Mirror of the Hugging Face hub.")] = None,
    hf_token_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="File that holds this node's token for it.")
    ] = None,
    modelscope_endpoint: Annotated[str | None, typer.Option(metavar="URL", help="Mirror of ModelScope.")] = None,
    modelscope_token_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="File that holds this node's token for it.")
    ] = None,
    allow_plugin: AllowPlugin = None,
    block_plugin: BlockPlugin = None,
    use_proxy: UseProxy = None,
    engine_proxy: Annotated[
        bool | None,
        typer.Option("--engine-proxy/--no-engine-proxy", help="Hand the agent's proxies to engines; default: no."),
    ] = None,
    bare_executor: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What runs engines without an image: auto, process or systemd."),
    ] = None,
    policy_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Launch policy; default /etc/motorpool/policy.toml where there is one."),
    ] = None,
    launcher: Annotated[
        str | None,
        typer.Option(metavar="SOCKET", help="Of the launcher, which starts units for an agent that is not root's."),
    ] = None,
    inference_probe: Annotated[
        str | None,
        typer.Option(metavar="SECONDS", help="How often engines over several nodes are asked to compute; 0: never."),
    ] = None,
    disk_low: Annotated[
        str | None, typer.Option(metavar="SIZE", help="With less room on its disks nothing new is placed here.")
    ] = None,
    memory_low: Annotated[
        str | None, typer.Option(metavar="SIZE", help="With less host memory available nothing new is placed here.")
    ] = None,
    first_attempts: Annotated[
        str | None, typer.Option(metavar="N", help="How many of an instance's first failures are kept, with logs.")
    ] = None,
    last_attempts: Annotated[
        str | None, typer.Option(metavar="N", help="How many of its last failures are kept, with logs.")
    ] = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    metrics_listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Metrics and health over HTTP; default: nowhere.")
    ] = None,
) -> None:
    """Run the agent; enrols first where this machine is no node yet."""

    def work() -> Coroutine[None, None, None]:
        settings = load(
            {
                "node_name": node_name,
                "node_ip": node_ip,
                "data_dir": data_dir,
                "cache_dir": cache_dir,
                "labels": label,
                "server": server,
                "join_token": token,
                "join_token_file": token_file,
                "port_range": port_range,
                "reserved_memory": reserved_memory,
                "reserved_device_memory": reserved_device_memory,
                "reserved_disk": reserved_disk,
                "model_dir": model_dir,
                "hf_endpoint": hf_endpoint,
                "hf_token_file": hf_token_file,
                "modelscope_endpoint": modelscope_endpoint,
                "modelscope_token_file": modelscope_token_file,
                "allow_plugins": allow_plugin,
                "block_plugins": block_plugin,
                "use_proxy": use_proxy,
                "engine_proxy": engine_proxy,
                "bare_executor": bare_executor,
                "policy_file": policy_file,
                "launcher": launcher,
                "inference_probe": inference_probe,
                "disk_low": disk_low,
                "memory_low": memory_low,
                "first_attempts": first_attempts,
                "last_attempts": last_attempts,
                "log_level": log_level,
                "log_format": log_format,
                "metrics_listen": metrics_listen,
            },
            file=config,
        )
        log_to_stderr(settings.log_level, settings.log_format)
        return agent.run(settings)

    _carry_out(work)


@app.command("enroll")
def enroll_command(
    config: ConfigFile = None,
    node_name: NodeName = None,
    data_dir: DataDir = None,
    server: Server = None,
    token: Token = None,
    token_file: TokenFile = None,
    use_proxy: UseProxy = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also where it is a node: it stays that one, its certificates are replaced.")
    ] = False,
) -> None:
    """Make this machine a node, once; `run` does it by itself where it has a token."""

    def work() -> Coroutine[None, None, None]:
        return _enroll(
            load(
                {
                    "node_name": node_name,
                    "data_dir": data_dir,
                    "server": server,
                    "join_token": token,
                    "join_token_file": token_file,
                    "use_proxy": use_proxy,
                },
                file=config,
            ),
            again=again,
        )

    _carry_out(work)


async def _enroll(settings: Config, *, again: bool) -> None:
    with DataDirectoryLock(settings.data_dir):
        store = IdentityStore(settings.data_dir)
        identity = store.load()
        if identity is None or again:
            name = None if identity is None else identity.document.node.partition("/")[2]
            identity = await agent.join(settings, store, node_id=name)
            typer.echo(f"{identity.document.node} enrolled in cluster {identity.document.cluster_id}")
        else:
            typer.echo(f"this machine is {identity.document.node} already; nothing was done")


@engine_app.command("install")
def install_command(
    backend: str,
    version: Annotated[str | None, typer.Option(help="Version; default: the backend's first.")] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    cache_dir: CacheDir = None,
) -> None:
    """Install an engine now, so that its first instance need not wait for it."""
    _carry_out(
        lambda: engines.install(
            load({"data_dir": data_dir, "cache_dir": cache_dir}, file=config), backend, version, typer.echo
        )
    )


@engine_app.command("list")
def list_command(config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """List the engines that this machine's plugins know, and which of them are installed."""
    _carry_out(lambda: engines.show(load({"data_dir": data_dir}, file=config), typer.echo))


@app.command("status")
def status_command(
    config: ConfigFile = None,
    data_dir: DataDir = None,
    output: Output = "text",
) -> None:
    """Show what the data directory holds: identity, last desired state, instances. Works while the agent runs."""

    async def work() -> None:
        checked_format(output)
        status = status_of(load({"data_dir": data_dir}, file=config).data_dir)
        typer.echo(as_text(status) if output == "text" else document(status, output))

    _carry_out(work)


@app.command("devices")
def devices_command(
    explain: Annotated[
        bool, typer.Option("--explain", help="Say of every plugin what it looked for, what answered and what failed.")
    ] = False,
    config: ConfigFile = None,
    allow_plugin: AllowPlugin = None,
    block_plugin: BlockPlugin = None,
    output: Output = "text",
) -> None:
    """List this machine's devices, asked now; needs no controller, and works while the agent runs."""

    async def work() -> None:
        checked_format(output)
        log_to_stderr("error")
        found = await survey(load({"allow_plugins": allow_plugin, "block_plugins": block_plugin}, file=config))
        shown = (
            devices.as_text(found, explain=explain) if output == "text" else document(devices.as_data(found), output)
        )
        typer.echo(shown)
        if not found.sound:
            raise typer.Exit(EXIT_UNSOUND)

    _carry_out(work)


@app.command("doctor")
def doctor_command(
    config: ConfigFile = None,
    data_dir: DataDir = None,
    cache_dir: CacheDir = None,
    server: Server = None,
    allow_plugin: AllowPlugin = None,
    block_plugin: BlockPlugin = None,
    use_proxy: UseProxy = None,
    output: Output = "text",
) -> None:
    """Look for what would trip the agent up on this machine, and say what to do; changes nothing."""

    async def work() -> None:
        checked_format(output)
        log_to_stderr("error")
        settings = load(
            {
                "data_dir": data_dir,
                "cache_dir": cache_dir,
                "server": server,
                "allow_plugins": allow_plugin,
                "block_plugins": block_plugin,
                "use_proxy": use_proxy,
            },
            file=config,
        )
        found = await doctor.examine(settings)
        typer.echo(doctor.as_text(found) if output == "text" else document(doctor.as_data(found), output))
        if any(finding.verdict is doctor.Verdict.PROBLEM for finding in found):
            raise typer.Exit(EXIT_UNSOUND)

    _carry_out(work)


@app.command("version")
def version_command() -> None:
    """Print the agent's version."""
    typer.echo(distribution_version("motorpool-agent"))


def main() -> None:
    """Run the command line."""
    # gRPC's core prints lines of its own kind; what matters of them comes as errors of calls.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    app()


def _carry_out(work: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run a command; a fault becomes one paragraph and its exit code."""
    try:
        asyncio.run(work())
    except (ConfigError, TelemetryError) as error:
        _fail(str(error), EXIT_USAGE)
    except IdentityError as error:
        _fail(str(error), error.exit_code)
    except StateError as error:
        _fail(f"{error} [{error.reason}]", EXIT_STATE)
    except RuntimeFault as error:
        _fail(f"{error.message} [{error.reason}]", EXIT_ENGINE)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


bundle_commands.add_to(app, _carry_out)


def _fail(message: str, code: int) -> None:
    print(f"motorpool-agent: {message}", file=sys.stderr)  # noqa: T201  # a command speaks to its user
    raise typer.Exit(code)
