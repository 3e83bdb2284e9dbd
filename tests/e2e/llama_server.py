"""A llama-server for cards that are not there: what it lists and demands is made up, the server is xllamacpp's."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.e2e.fleet import Fleet

VERSION = "b99999"

_PROGRAM = """#!{python} -IS
import os, sys
if sys.argv[1] == "--version":
    print("version: 99999 (made up)", file=sys.stderr)
elif sys.argv[1] == "--list-devices":
    print("Available devices:\\n  {device}: Made-up card (1024 MiB, 1000 MiB free)")
else:
    at = sys.argv.index("--device")
    if sys.argv[at + 1] != "{device}" or not os.environ.get("{variable}"):
        sys.exit(f"invalid device: {{sys.argv[at + 1]}}")
    del sys.argv[at : at + 2]
    os.execv({engine!r}, [{engine!r}, {launcher!r}, *sys.argv[1:]])
"""


def install_llama_server(fleet: Fleet, device: str, variable: str) -> Path:
    """Return a program that serves on ``device`` alone, and only where ``variable`` says which cards it may use."""
    [engine] = fleet.engines.glob("llama_cpp/xllamacpp-*")
    program = fleet.folder / "llama-server"
    program.write_text(
        _PROGRAM.format(
            python=sys.executable,
            device=device,
            variable=variable,
            engine=str(engine / "bin" / "python"),
            launcher=str(engine / "files" / "llama_server.py"),
        ),
        encoding="utf-8",
    )
    program.chmod(0o755)
    return program


def environment_of(pid: int) -> dict[str, str]:
    """Return a process's environment, as the kernel has it."""
    parts = Path(f"/proc/{pid}/environ").read_text(encoding="utf-8").split("\0")
    return dict(part.split("=", 1) for part in parts if part)
