"""What an installation consists of, and where: the unit, the agent's file, the join token, its folders."""

from __future__ import annotations

import contextlib
import grp
import json
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from motorpool_agent.policy.floor import DEVICES

UNIT = "motorpool-agent.service"
SOCKET, LAUNCHER = "motorpool-launcher.socket", "motorpool-launcher.service"
"""Of the launcher, where the agent is not root's."""
UNITS = Path("/etc/systemd/system")
SETTINGS_FILE = Path("/etc/motorpool/agent.toml")
TOKEN_FILE = Path("/etc/motorpool/join-token")
USER = "motorpool"
CAPABILITIES = (
    *("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_IPC_LOCK", "CAP_KILL"),
    *("CAP_SETGID", "CAP_SETUID", "CAP_SYS_NICE", "CAP_SYS_PTRACE"),
)
"""What of root's rights an agent keeps that is root's; another one has none of them."""

DATA_DIR = Path("/var/lib/motorpool/agent")
CACHE_DIR = Path("/var/cache/motorpool")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the operator asked for. ``token`` is None where the machine is a node already, or has a token's file."""

    user: str = USER
    server: str | None = None
    node_name: str | None = None
    labels: Mapping[str, str]
    token: str | None = None
    models: tuple[str, ...] = ()

    @property
    def units(self) -> tuple[str, ...]:
        """Names of the units, the agent's last."""
        return (UNIT,) if self.user == "root" else (SOCKET, LAUNCHER, UNIT)


def unit_text(unit: str, user: str, programs: Path | None = None, groups: Sequence[str] = ()) -> str:
    """Return a unit for an agent of this user; ``programs`` is where its commands stand, here unless told."""
    text = files("motorpool_agent.main.installing").joinpath(unit).read_text(encoding="utf-8")
    programs = programs or Path(sys.executable).absolute().parent
    values = {
        "@PROGRAM@": _word(programs / "motorpool-agent"),
        "@LAUNCHER@": _word(programs / "motorpool-launcher"),
        "@CONFIG@": str(SETTINGS_FILE),
        "@USER@": user,
        "@GROUPS@": " ".join(groups),
        "@CAPABILITIES@": " ".join(CAPABILITIES if user == "root" else ()),
    }
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def device_groups(patterns: Iterable[str] = DEVICES) -> list[str]:
    """Return the groups whose members alone may use accelerators of this machine."""
    found = set()
    for path in (path for pattern in patterns for path in Path("/").glob(pattern.removeprefix("/"))):
        with contextlib.suppress(OSError, KeyError):  # gone meanwhile, or a group without a name
            node = path.stat()
            if stat.S_ISCHR(node.st_mode) and node.st_mode & 0o066 == 0o060 and node.st_gid:
                found.add(grp.getgrgid(node.st_gid).gr_name)
    return sorted(found)


def installed_user() -> str | None:
    """Return whose this node's agent is: the installed unit's user, without one the owner of its identity; or None."""
    with contextlib.suppress(OSError):
        lines = (UNITS / UNIT).read_text(encoding="utf-8").splitlines()
        return next((line.removeprefix("User=") for line in lines if line.startswith("User=")), None)
    with contextlib.suppress(OSError, KeyError):
        return (DATA_DIR / "identity" / "identity.json").owner()
    return None


def policy_text(models: Sequence[str]) -> str:
    """Return the launch policy of a machine on which no more was said than where models lie."""
    return (
        "# Made by `motorpool-agent install`, once: yours from then on. What may run on this machine, whoever asks;\n"
        "# models of hubs and engines that the agent fetched may. `motorpool_agent/policy/README.md` has all lines.\n"
        f"roots = {json.dumps([*models])}\n"
    )


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
