"""A plugin on another root folder than this machine's, where its files and device nodes are made up."""

from __future__ import annotations

from pathlib import Path

ROOTED = """
from pathlib import Path

from {package}.plugin import {name}
from motorpool_sdk import hookimpl

@hookimpl
def motorpool_register_accelerators(register):
    register({name}(Path({root!r})))
"""


def rooted(folder: Path, package: str, name: str, root: Path) -> dict[str, str]:
    """Write the package ``rooted``: a plugin on another root folder; return what its process's environment needs."""
    (folder / "rooted").mkdir(parents=True)
    (folder / "rooted" / "__init__.py").touch()
    (folder / "rooted" / "plugin.py").write_text(ROOTED.format(package=package, name=name, root=str(root)))
    return {"PYTHONPATH": str(folder)}
