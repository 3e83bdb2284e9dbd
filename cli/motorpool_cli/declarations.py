"""Declared backends out of YAML files, and what a controller found wrong in them back to their lines."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from motorpool import v1
from motorpool_cli import documents, text
from motorpool_cli.documents import Document, Problem
from motorpool_cli.failures import CommandError, Exit

STDIN = "-"
_DECLARATION = "declaration"
_LIST = "backends"
# What the API shows beside a declaration: a file may be what it showed.
_SHOWN = ("profile", "nodes", "create_time", "update_time")


@dataclass(frozen=True, slots=True)
class Declared:
    """A backend as a document declares it."""

    backend: v1.Backend
    document: Document
    nested: bool
    """The document is the API's own: its fields stand below ``declaration``."""

    def problem(self, field: str, message: str) -> Problem:
        """Return what the controller said of one of the API's fields, at its place in the file."""
        own = field if self.nested else field.removeprefix(f"{_DECLARATION}.").removeprefix(_DECLARATION)
        return Problem(self.document.file, self.document.line(own), own, message)


def read(files: Sequence[Path]) -> list[Declared]:
    """Return what files declare; raise CommandError (USAGE) with every fault of all of them."""
    problems: list[Problem] = []
    found: list[Declared] = []
    for file in files:
        parts, wrong = documents.read(str(file), content(file))
        problems += wrong
        for document in parts:
            found.append(_declared(document))
            problems += document.problems
        if not parts and not wrong:
            problems.append(Problem(str(file), 1, "", "there is nothing in it; declare a backend: name, versions"))
    problems += _repeated(found)
    if problems:
        raise invalid(Exit.USAGE, problems, "nothing was sent")
    return found


def invalid(
    exit_code: Exit, problems: Iterable[Problem], consequence: str, reason: str = "DECLARATION_INVALID"
) -> CommandError:
    """Return the failure of files in which something is wrong, a line each."""
    # What is about no field of a file, as how many more there are, stands behind its others.
    lines = [str(each) for each in sorted(set(problems), key=lambda each: (each.file, not each.field, each))]
    count = "1 fault" if len(lines) == 1 else f"{len(lines)} faults"
    return CommandError(exit_code, reason, "\n".join([f"{count}, {consequence}:", *lines]))


def content(file: Path, most_bytes: int = documents.MOST_BYTES) -> bytes:
    """Return what is in a file, or on standard input; raise CommandError (USAGE)."""
    try:
        if str(file) == STDIN:
            return sys.stdin.buffer.read(most_bytes + 1)
        with file.open("rb") as opened:
            return opened.read(most_bytes + 1)
    except OSError as error:
        raise CommandError(
            Exit.USAGE, "FILE_UNREADABLE", f"{file} cannot be read: {error.strerror}. Name a YAML file with --file."
        ) from None


def _declared(document: Document) -> Declared:
    backend = v1.Backend()
    fields = document.fields()
    nested = _DECLARATION in fields
    backend.declaration.SetInParent()
    if _LIST in fields:
        document.fault(
            _LIST,
            "a list of backends is no declaration; `motorpool backends describe NAME -o yaml` shows one, and several "
            "go into a file with --- between them",
        )
    if not document.problems:
        if nested:
            document.fill(backend, skip=("name", *_SHOWN))
        else:
            document.fill(backend.declaration, skip=("name",))
        name = document.scalar(fields["name"], "name") if "name" in fields else ""
        if not name and all(problem.field != "name" for problem in document.problems):
            document.fault("name", "it is missing; give the backend a name, as in name: echo")
        if not nested and "versions" not in fields:
            document.fault("versions", "it is missing; declare at least one, with a command or an image")
        backend.name = text.full("backends", name)
    return Declared(backend, document, nested)


def _repeated(found: Sequence[Declared]) -> Iterable[Problem]:
    first: dict[str, Declared] = {}
    for declared in found:
        earlier = first.setdefault(declared.backend.name, declared)
        if earlier is not declared and declared.backend.name:
            at = f"{earlier.document.file}:{earlier.document.line('name')}"
            yield declared.problem("name", f"{declared.backend.name} is declared at {at} already; keep one of them")
