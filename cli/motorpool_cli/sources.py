"""Where a model lies, as a word on the command line."""

from __future__ import annotations

import typer

from motorpool import v1
from motorpool.sources import SourceError, parse_source, source_text
from motorpool_cli import text
from motorpool_cli.client import Client
from motorpool_cli.context import COMPLETION_TIMEOUT_SECONDS, complete
from motorpool_cli.failures import CommandError, Exit

_PREFIXES = ("hf:", "ms:")


def source_of(argument: str, word: str) -> v1.ModelSource:
    """Return where a model lies, given as ``argument``."""
    try:
        return parse_source(word)
    except SourceError as error:
        raise CommandError(Exit.USAGE, "MODEL_SOURCE_INVALID", f"{argument}: {error}.") from None


def words(source: v1.ModelSource) -> str:
    """Return a model's source in one word."""
    return source_text(source) or text.UNKNOWN


def complete_source(context: typer.Context, incomplete: str) -> list[str]:
    """Return hubs' prefixes, and the models of deployments, for the shell's completion."""
    return complete(context, incomplete, _known)


def _known(connected: Client) -> list[str]:
    request = v1.ListDeploymentsRequest(page_size=1000)
    listed = connected.deployments.ListDeployments(request, timeout=COMPLETION_TIMEOUT_SECONDS)
    return [*_PREFIXES, *(source_text(deployment.spec.model) for deployment in listed.deployments)]
