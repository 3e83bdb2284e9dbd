"""Deployments out of YAML or JSON files, as the CLI itself prints them: one, a list, or several documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from motorpool import v1
from motorpool_cli import declarations, documents
from motorpool_cli.documents import Document, Problem
from motorpool_cli.failures import Exit

MOST = 100
_LIST = "deployments"
# What the API and `motorpool describe` show beside a wish: a file may be what they showed.
_SHOWN = (
    *(field.name for field in v1.Deployment.DESCRIPTOR.fields if field.name not in {"name", "spec"}),
    *("instances", "events"),
)


@dataclass(frozen=True, slots=True)
class Wish:
    """A deployment as a document wishes for it."""

    deployment: v1.Deployment
    document: Document

    def problem(self, field: str, message: str) -> Problem:
        """Return what the controller said of one of the deployment's fields, at its place in the file."""
        return Problem(self.document.file, self.document.line(field), field, message)


def read(files: Sequence[Path]) -> list[Wish]:
    """Return what files wish for; raise CommandError (USAGE) with every fault of all of them."""
    problems: list[Problem] = []
    wishes: list[Wish] = []
    for file in files:
        parts, wrong = documents.read(str(file), declarations.content(file))
        problems += wrong
        for part in parts:
            for document in _deployments(part, problems):
                wishes.append(_wish(document))
                problems += document.problems
        if not wishes and not problems:
            problems.append(Problem(str(file), 1, "", "there is nothing in it; wish for a deployment: name, spec"))
    if len(wishes) > MOST and not problems:
        problems.append(Problem(str(files[-1]), 1, "", f"there are {len(wishes)} deployments; {MOST} is the most"))
    if problems:
        raise invalid(Exit.USAGE, problems)
    return wishes


def invalid(exit_code: Exit, problems: Sequence[Problem]) -> Exception:
    """Return the failure of files in which something is wrong, a line each."""
    return declarations.invalid(exit_code, problems, "nothing was planned", "FILE_INVALID")


def _deployments(part: Document, problems: list[Problem]) -> Iterator[Document]:
    """Yield the deployments of a document: itself, or the items of its list."""
    items = part.items()
    if items is not None:
        yield from items
        return
    fields = part.fields()
    if _LIST not in fields:
        yield part
        return
    items = Document(part.file, fields[_LIST]).items()
    if items is None:
        part.fault(_LIST, "it is no list; write - one a deployment")
    for name in fields:
        if name != _LIST:
            part.fault(name, f"it stands beside a list of {_LIST}; put it into one of them, or leave it out")
    problems += part.problems
    yield from items or ()


def _wish(document: Document) -> Wish:
    deployment = v1.Deployment()
    document.fill(deployment, skip=_SHOWN)
    if not document.problems and not deployment.HasField("spec"):
        document.fault("", "there is no spec; write e.g. spec: {model: {local_path: /models/m.gguf}}")
    return Wish(deployment, document)
