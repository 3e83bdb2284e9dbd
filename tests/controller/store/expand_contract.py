"""What a migration may do: first add, and take away a release later, so that the version before still works.

Read from its text, like a reviewer would: what it calls, on ``op`` or on a batch of one table.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

ADDING = frozenset({"create_table", "add_column", "create_index", "bulk_insert"})
TAKING = frozenset(
    {
        "alter_column",  # another name, type or emptiness
        "create_check_constraint",
        "create_exclude_constraint",
        "create_foreign_key",
        "create_primary_key",
        "create_unique_constraint",
        "drop_column",
        "drop_constraint",
        "drop_table",
        "drop_table_comment",
        "rename_table",
    }
)
NEITHER = frozenset({"batch_alter_table", "drop_index", "f", "get_bind"})
STATEMENTS = re.compile(r"\s*(?:UPDATE|INSERT)\b", re.IGNORECASE)


def faults(text: str, released: frozenset[str]) -> list[str]:
    """Return what is wrong with a migration, given the versions that were released before it."""
    tree = ast.parse(text)
    calls = list(_calls(tree))
    found = [f"{name} is none of the operations that this rule knows" for name, _ in calls if not _known(name)]
    for name, call in calls:
        if name == "execute" and not _only_fills(call):
            found.append("execute may fill columns (UPDATE, INSERT) in text that is written out, and nothing else")
        if name == "add_column" and not _may_be_left_out(call):
            found.append("add_column makes a column that the version before does not fill: nullable, or server_default")
    taking = sorted({name for name, _ in calls if name in TAKING})
    adding = sorted({name for name, _ in calls if name in ADDING})
    stopped = _stopped_reading(tree)
    if taking and adding:
        found.append(f"it adds ({', '.join(adding)}) and takes away ({', '.join(taking)}): that is two releases' work")
    if taking and stopped is None:
        found.append(f"{', '.join(taking)} takes away: say which release stopped reading it, stopped_reading = '1.2.3'")
    if stopped is not None and stopped not in released:
        found.append(f"stopped_reading is {stopped}, which was not released: what still is read must not be taken away")
    return found


def _calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """Yield the operations of ``upgrade`` by name: calls of methods of ``op`` or of a batch."""
    tables = {"op"}
    for node in ast.walk(tree):
        if isinstance(node, ast.withitem) and isinstance(node.optional_vars, ast.Name):
            tables.add(node.optional_vars.id)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id in tables
        ):
            yield node.func.attr, node


def _known(name: str) -> bool:
    return name in ADDING | TAKING | NEITHER | {"execute"}


def _only_fills(call: ast.Call) -> bool:
    first = call.args[0] if call.args else None
    return isinstance(first, ast.Constant) and bool(STATEMENTS.match(str(first.value)))


def _may_be_left_out(call: ast.Call) -> bool:
    for inner in ast.walk(call):
        if isinstance(inner, ast.keyword) and inner.arg == "nullable" and ast.unparse(inner.value) == "True":
            return True
        if isinstance(inner, ast.keyword) and inner.arg == "server_default":
            return True
    return False


def _stopped_reading(tree: ast.Module) -> str | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "stopped_reading":
            return str(ast.literal_eval(node.value))
    return None
