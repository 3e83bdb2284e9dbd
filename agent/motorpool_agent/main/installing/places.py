"""What an installation consists of, and where: the unit, the agent's file, the join token, its folders."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

UNIT = "motorpool-agent.service"
UNIT_FILE = Path("/etc/systemd/system") / UNIT
SETTINGS_FILE = Path("/etc/motorpool/agent.toml")
TOKEN_FILE = Path("/etc/motorpool/join-token")
DATA_DIR = Path("/var/lib/motorpool/agent")
CACHE_DIR = Path("/var/cache/motorpool")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the operator asked for. ``token`` is None where the machine is a node already, or has a token's file."""

    user: str = "root"
    server: str | None = None
    node_name: str | None = None
    labels: Mapping[str, str]
    token: str | None = None


def unit_text(user: str, program: Path | None = None, settings: Path = SETTINGS_FILE) -> str:
    """Return the unit for an agent of this user; ``program`` is this environment's own unless another one is named."""
    template = files("motorpool_agent.main.installing").joinpath(UNIT).read_text(encoding="utf-8")
    program = program or Path(sys.executable).absolute().parent / "motorpool-agent"
    values = {"@PROGRAM@": _word(program), "@CONFIG@": _word(settings), "@USER@": user}
    for name, value in values.items():
        template = template.replace(name, value)
    return template


def settings_text(wanted: Wanted) -> str:
    """Return the agent's file; what is not said has the agent's own default."""
    lines = ["# Made by `motorpool-agent install`, once: yours from then on. The agent's README has all settings."]
    if wanted.server is not None:
        lines.append(f"server = {json.dumps(wanted.server)}")
    lines.append(f"join_token_file = {json.dumps(str(TOKEN_FILE))}  # read while this machine is no node yet")
    # In this place, and not in some user's home directory, whoever the agent's user is.
    lines += [f"data_dir = {json.dumps(str(DATA_DIR))}", f"cache_dir = {json.dumps(str(CACHE_DIR))}"]
    if wanted.node_name is not None:
        lines.append(f"node_name = {json.dumps(wanted.node_name)}")
    if wanted.labels:
        pairs = (f"{json.dumps(key)} = {json.dumps(value)}" for key, value in sorted(wanted.labels.items()))
        lines.append(f"labels = {{ {', '.join(pairs)} }}")
    return "\n".join(lines) + "\n"


def _word(path: Path) -> str:
    """Return a path as a word of ExecStart=: specifiers begin with a percent sign, variables with a dollar sign."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"' if any(sign.isspace() or sign in "\"'" for sign in text) else text
