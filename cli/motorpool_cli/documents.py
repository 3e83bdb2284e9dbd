"""YAML documents into the API's messages: every fault with its line and field, all of them at once.

A document is read along the message's own fields, so that what the API knows, the file knows. A text is taken as it
stands (``version: 1.0`` is no number here), a size may be ``2GiB``, a time ``90s``, and a command line one text that is
split as a shell would split it, once. Aliases and merge keys (``<<: *of``) do what they do in YAML.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer
from google.protobuf.message import Message

from motorpool_cli import text
from motorpool_cli.failures import CommandError

if TYPE_CHECKING:
    import yaml

Field = Any  # protobuf has two classes of field descriptors, and no common one

MOST_BYTES = 1024 * 1024
MOST_DOCUMENTS = 200
_NULL, _MERGE = "tag:yaml.org,2002:null", "tag:yaml.org,2002:merge"
_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")
_COMMAND_LINES = ("command", "entrypoint")


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong in a file."""

    file: str
    line: int
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.field + ': ' if self.field else ''}{self.message}"


class Document:
    """One document of a file: a mapping, the lines of its fields, and what was found wrong."""

    def __init__(self, file: str, node: yaml.Node) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self._node = node
        self._lines: dict[str, int] = {"": _line(node)}

    def items(self) -> list[Document] | None:
        """Return the items of a document that is a list, each a document of its own; None of any other."""
        import yaml  # noqa: PLC0415

        if not isinstance(self._node, yaml.SequenceNode):
            return None
        return [Document(self.file, item) for item in self._node.value]

    def fields(self) -> dict[str, yaml.Node]:
        """Return the document's own fields."""
        return dict(self._entries(self._node, ""))

    def fill(self, into: Message, node: yaml.Node | None = None, path: str = "", *, skip: tuple[str, ...] = ()) -> None:
        """Read a mapping, the document's own if no other is named, into a message; ``skip`` is read by others."""
        known = {field.name: field for field in into.DESCRIPTOR.fields}
        for name, value in self._entries(self._node if node is None else node, path):
            at = f"{path}.{name}" if path else name
            if name in skip:
                continue
            if name not in known:
                near = difflib.get_close_matches(name, [*known, *skip], n=1)
                hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(dict.fromkeys([*skip, *known]))}"
                self.fault(at, f"there is no such field; {hint}")
            elif value.tag != _NULL:
                self._set(into, known[name], value, at)

    def scalar(self, node: yaml.Node, path: str) -> str:
        """Return a text, a number or a word as it is written; empty where there is none."""
        import yaml  # noqa: PLC0415  # as in `output`: other commands do without

        if isinstance(node, yaml.ScalarNode):
            return "" if node.tag == _NULL else str(node.value)
        self._misplaced(path, node, "a single value is wanted; write it in one line")
        return ""

    def fault(self, path: str, message: str) -> None:
        """Record what is wrong with a field."""
        self.problems.append(Problem(self.file, self.line(path), path, message))

    def line(self, path: str) -> int:
        """Return the line of a field, or of what it is in."""
        while path not in self._lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self._lines[path]

    def _entries(self, node: yaml.Node, path: str) -> Iterator[tuple[str, yaml.Node]]:
        import yaml  # noqa: PLC0415

        if not isinstance(node, yaml.MappingNode):
            self._misplaced(path, node, "fields are wanted; write name: value, a line each")
            return
        seen: set[str] = set()
        for key, value in self._merged(node, path, set()):
            name = self.scalar(key, path)
            at = f"{path}.{name}" if path else name
            self._lines.setdefault(at, _line(key))
            if name in seen:
                said = "it is there twice; YAML would take one of them silently, so remove the other"
                self.problems.append(Problem(self.file, _line(key), at, said))
            else:
                seen.add(name)
                yield name, value

    def _merged(self, node: yaml.MappingNode, path: str, visited: set[int]) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        """Yield the keys and values of a mapping, its own first, then those that it merges and has not itself."""
        import yaml  # noqa: PLC0415

        visited.add(id(node))  # nothing new comes of a mapping that was merged before, or of one that merges itself
        own = [(key, value) for key, value in node.value if key.tag != _MERGE]
        yield from own
        have = {key.value for key, _ in own if isinstance(key, yaml.ScalarNode)}
        for source in (value for key, value in node.value if key.tag == _MERGE):
            for part in source.value if isinstance(source, yaml.SequenceNode) else [source]:
                if not isinstance(part, yaml.MappingNode):
                    self._misplaced(f"{path}.<<" if path else "<<", part, "fields are wanted; write <<: *anchor")
                elif id(part) not in visited:
                    for key, value in self._merged(part, path, visited):
                        if key.value not in have:
                            have.add(key.value)
                            yield key, value

    def _misplaced(self, path: str, node: yaml.Node, wanted: str) -> None:
        template = _unquoted(node)
        if template:
            self.fault(path, f'{template} without quotation marks is a table to YAML; write "{template}"')
        else:
            self.fault(path, f"a {_kind(node)} stands where {wanted}")

    def _set(self, into: Message, field: Field, node: yaml.Node, path: str) -> None:
        import yaml  # noqa: PLC0415

        target: Any = getattr(into, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for name, value in self._entries(node, path):
                target[name] = self.scalar(value, f"{path}.{name}")
        elif not hasattr(target, "append"):  # the descriptor says it too, by another name in each protobuf
            self._set_single(into, field, node, path)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                at = f"{path}[{index}]"
                self._lines[at] = _line(item)
                if field.message_type is not None:
                    self.fill(target.add(), item, at)
                else:
                    target.append(self.scalar(item, at))
        elif field.name in _COMMAND_LINES and isinstance(node, yaml.ScalarNode):
            target.extend(self._split(str(node.value), path))
        else:
            self._misplaced(path, node, "a list is wanted; write [one, another], or - one a line")

    def _set_single(self, into: Message, field: Field, node: yaml.Node, path: str) -> None:
        if field.message_type is not None and field.message_type.full_name == "google.protobuf.Duration":
            self._set_duration(getattr(into, field.name), self.scalar(node, path), path)
        elif field.message_type is not None:
            getattr(into, field.name).SetInParent()
            self.fill(getattr(into, field.name), node, path)
        else:
            value = self.scalar(node, path)
            found = self._single(field, value, path)
            if found is not None:
                setattr(into, field.name, found)

    def _single(self, field: Field, value: str, path: str) -> str | bool | int | float | None:
        if field.type == field.TYPE_STRING:
            return value
        if field.type == field.TYPE_BOOL:
            if value.lower() in {*_TRUE, *_FALSE}:
                return value.lower() in _TRUE
            self.fault(path, f"{value!r} is neither true nor false")
        elif field.enum_type is not None:
            names = {each.name.rsplit("_", 1)[-1]: each.number for each in field.enum_type.values if each.number}
            if value.upper().rsplit("_", 1)[-1] in names:
                return int(names[value.upper().rsplit("_", 1)[-1]])
            self.fault(path, f"{value!r} is none of {', '.join(name.lower() for name in names)}")
        elif field.name.endswith("_bytes"):
            try:
                return text.parse_size(path, value)
            except CommandError:
                self.fault(path, f"{value!r} is no size; write e.g. 6GiB, 500MiB or 6000000000")
        elif field.type == field.TYPE_DOUBLE:
            try:
                return float(value)
            except ValueError:
                self.fault(path, f"{value!r} is no number; write e.g. 1.5")
        else:
            try:
                return _bounded(int(value), field)
            except ValueError:
                self.fault(path, f"{value!r} is no whole number that fits; write e.g. 8080")
        return None

    def _set_duration(self, into: Any, value: str, path: str) -> None:
        try:
            into.FromNanoseconds(round(text.parse_duration(value) * 1e9))
        except typer.BadParameter:
            self.fault(path, f"{value!r} is no length of time; write e.g. 90s, 15m or 24h")

    def _split(self, line: str, path: str) -> list[str]:
        try:
            return shlex.split(line)
        except ValueError as error:  # an open quotation mark, or a backslash at the end
            self.fault(path, f"it cannot be split into arguments ({error}); close the quotation marks, or write a list")
            return []


def read(
    file: str, content: bytes, most_bytes: int = MOST_BYTES, most_documents: int = MOST_DOCUMENTS
) -> tuple[list[Document], list[Problem]]:
    """Return the documents of a YAML file, empty ones left out, and why there are no more of them."""
    import yaml  # noqa: PLC0415

    documents: list[Document] = []
    if len(content) > most_bytes:
        return documents, [Problem(file, 1, "", f"the file is larger than {most_bytes} bytes; split it")]
    try:
        for node in yaml.compose_all(content.decode("utf-8-sig"), Loader=yaml.SafeLoader):
            if len(documents) == most_documents:
                return documents, [Problem(file, _line(node), "", f"more than {most_documents} documents; split it")]
            if node is not None and node.tag != _NULL:
                documents.append(Document(file, node))
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        return documents, [Problem(file, line, "", "it is not UTF-8 text; save it as such")]
    except yaml.MarkedYAMLError as error:
        line = 1 if error.problem_mark is None else error.problem_mark.line + 1
        remedy = "correct it there or just above"
        if b"{{" in b"".join(content.splitlines()[line - 1 : line]):
            remedy = "put what holds {{ }} into quotation marks"
        return documents, [Problem(file, line, "", f"it is not YAML: {error.problem}; {remedy}")]
    except (yaml.YAMLError, RecursionError) as error:
        said = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        return documents, [Problem(file, 1, "", f"it is not YAML: {said}")]
    return documents, []


def _bounded(value: int, field: Field) -> int:
    most = 2**31 if field.type == field.TYPE_INT32 else 2**63
    if not -most <= value < most:
        raise ValueError(value)
    return value


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _kind(node: yaml.Node) -> str:
    import yaml  # noqa: PLC0415

    if isinstance(node, yaml.MappingNode):
        return "table"
    return "list" if isinstance(node, yaml.SequenceNode) else "single value"


def _unquoted(node: yaml.Node) -> str:
    """Return the template that a table was meant to be: YAML reads {{port}} as a table in a table."""
    import yaml  # noqa: PLC0415

    names = []
    while isinstance(node, yaml.MappingNode) and len(node.value) == 1:
        names.append(node)
        node = node.value[0][0]
    return f"{{{{{node.value}}}}}" if len(names) == 2 and isinstance(node, yaml.ScalarNode) else ""
