"""The `motorpool` command as tests call it."""

import json
import re
from typing import Any, Protocol

from typer.testing import Result


class Motorpool(Protocol):
    """Runs one command line."""

    def __call__(self, *words: str) -> Result: ...


def error_of(result: Result) -> dict[str, Any]:
    """Return the one JSON document that a failed command with --output json writes to stderr."""
    document: dict[str, Any] = json.loads(result.stderr)["error"]
    return document


def rows(output: str) -> list[list[str]]:
    """Return a table's cells, its header first."""
    return [re.split(r" {2,}", line) for line in output.splitlines()]
