"""What every command shares: the options before it, the connection, and how its failures end the process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Protocol, Self

import typer

from motorpool import v1
from motorpool_cli import logins, settings, text
from motorpool_cli.client import Client, connect
from motorpool_cli.failures import CommandError
from motorpool_cli.output import Format, print_error

Output = Annotated[
    Format, typer.Option("--output", "-o", help="Print a table, or a document with the API's field names.")
]
COMPLETION_TIMEOUT_SECONDS = 1.0


_KEYS = ("config", "context", "server", "ca_file", "token")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options that stand before the command."""

    config: Path | None = None
    context: str | None = None
    server: str | None = None
    ca_file: Path | None = None
    token: str | None = None

    def as_typed(self, line: typer.Context) -> Self:
        """Return those that stand on the line itself; the settings read the variables, which are farther from it."""
        root = line.find_root()
        typed = {key for key in _KEYS if (source := root.get_parameter_source(key)) and source.name == "COMMANDLINE"}
        return replace(self, **dict.fromkeys(set(_KEYS) - typed))

    def load(self) -> settings.Settings:
        """Return the settings that these options, the environment, and the context or client file give."""
        return settings.load(
            config=self.config, context=self.context, server=self.server, ca_file=self.ca_file, token=self.token
        )


_OPTIONS: ContextVar[Options] = ContextVar("options")


def keep(options: Options) -> None:
    """Keep the options that stood before the command, for its ``client``."""
    _OPTIONS.set(options)


def given() -> Options:
    """Return the options that stood before the command."""
    return _OPTIONS.get(Options())


@contextmanager
def reporting(output: Format) -> Iterator[None]:
    """Print a failure of the block, and end the command with its exit code."""
    try:
        yield
    except CommandError as error:
        print_error(error, output)
        raise typer.Exit(error.exit_code) from None


@contextmanager
def client(output: Format) -> Iterator[Client]:
    """Give the controller's client for a command; a failure is printed and becomes the exit code."""
    with reporting(output), connect(given().load()) as connected:
        yield connected


def complete_context(incomplete: str) -> list[str]:
    """Return contexts' names for the shell's completion."""
    try:
        return sorted(name for name in logins.read().by_name if name.startswith(incomplete))
    except CommandError:
        return []


def complete_deployment(context: typer.Context, incomplete: str) -> list[str]:
    """Return deployments' names for the shell's completion."""
    return _complete(context, incomplete, _deployments)


def complete_instance(context: typer.Context, incomplete: str) -> list[str]:
    """Return instances' names for the shell's completion."""
    return _complete(context, incomplete, _instances)


def complete_node(context: typer.Context, incomplete: str) -> list[str]:
    """Return nodes' names for the shell's completion."""
    return _complete(context, incomplete, _nodes)


def complete_backend(context: typer.Context, incomplete: str) -> list[str]:
    """Return backends' names for the shell's completion."""
    return _complete(context, incomplete, _backends)


def complete_declared(context: typer.Context, incomplete: str) -> list[str]:
    """Return declared backends' names for the shell's completion."""
    return _complete(
        context, incomplete, lambda connected: (each for each in _backends(connected) if each.HasField("declaration"))
    )


def complete_any(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of deployments, instances and nodes for the shell's completion."""
    return _complete(context, incomplete, _deployments, _instances, _nodes)


class _Named(Protocol):
    @property
    def name(self) -> str: ...


def _deployments(connected: Client) -> Iterable[_Named]:
    request = v1.ListDeploymentsRequest(page_size=1000)
    return connected.deployments.ListDeployments(request, timeout=COMPLETION_TIMEOUT_SECONDS).deployments


def _instances(connected: Client) -> Iterable[_Named]:
    request = v1.ListInstancesRequest(page_size=1000)
    return connected.instances.ListInstances(request, timeout=COMPLETION_TIMEOUT_SECONDS).instances


def _backends(connected: Client) -> Iterable[v1.Backend]:
    request = v1.ListBackendsRequest(page_size=1000)
    return connected.backends.ListBackends(request, timeout=COMPLETION_TIMEOUT_SECONDS).backends


def _nodes(connected: Client) -> Iterable[_Named]:
    request = v1.ListNodesRequest(page_size=1000)
    return connected.nodes.ListNodes(request, timeout=COMPLETION_TIMEOUT_SECONDS).nodes


def _complete(context: typer.Context, incomplete: str, *lists: Callable[[Client], Iterable[_Named]]) -> list[str]:
    return complete(
        context, incomplete, lambda connected: (text.bare(item.name) for fetch in lists for item in fetch(connected))
    )


def complete(context: typer.Context, incomplete: str, known: Callable[[Client], Iterable[str]]) -> list[str]:
    """Return what begins like the word to be completed, of all that the controller knows."""
    # The callback that keeps the options does not run while a line is completed.
    given_words = context.find_root().params
    options = Options(**{key: given_words.get(key) for key in _KEYS}).as_typed(context)
    try:
        with connect(options.load(), patient=False) as connected:
            found = list(known(connected))
    except CommandError:  # completion offers what it knows, and never an error in the middle of a line
        return []
    return sorted({name for name in found if name.startswith(incomplete)})
