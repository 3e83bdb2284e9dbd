"""What the launcher lets an agent have started. The agent is asked for no proof, and believed in nothing."""

from __future__ import annotations

import grp
import os
import re
import stat
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from motorpool_agent.policy import DeniedError, Policy
from motorpool_agent.policy.places import check_device, check_program, resolved
from motorpool_agent.policy.requests import check_environment, check_files
from motorpool_agent.runtime.systemd.requests import Start

_OWN_VARIABLES = ("PATH", "HOME", "MOTORPOOL_*", "*_VISIBLE_DEVICES")
"""Variables that no deployment sets and the agent does; none of them loads code into a program of the machine's."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_FOLDERS = ("engines", "models")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


def check(policy: Policy, start: Start, assignment_id: str, data_dir: Path, work: Path) -> None:
    """Raise ``DeniedError`` for a start that is outside the policy, or reaches out of the agent's own folders."""
    own = [data_dir / name for name in _FOLDERS]
    launch = data_dir / "instances" / assignment_id / "launch"
    if not _ID.fullmatch(assignment_id):
        raise DeniedError(f"{assignment_id[:80]!r} names no assignment", final=True)
    for path in start.reads:
        if not _is_below(path, own):
            raise DeniedError(f"{path} is no folder of engines or models of this agent's", final=True)
    for path in start.files:
        if Path(path).parent != launch or not _FILE.fullmatch(Path(path).name):
            raise DeniedError(f"{path} is no file of this launch's: those lie in {launch}", final=True)
    program = start.argv[0]
    if not program.startswith("/"):
        raise DeniedError(f"program {program[:200]!r} is no absolute path", final=True)
    check_program(policy, program, start.backend, own)
    check_environment(policy, ((name, value) for name, value in start.environment.items() if not _is_own(name)))
    for option in policy.denied_options_of(start.backend):
        for word in start.argv[1:]:
            if fnmatchcase(word.partition("=")[0].replace("_", "-"), option):
                raise DeniedError(f"{word.partition('=')[0]} is denied by {policy.source}: denied_options", final=True)
    for word in start.argv[1:]:
        check_files(policy, "of the command", word, folder=work, own=(*own, launch))
    for node in start.device_nodes:
        check_device(policy, node)
        if not stat.S_ISCHR(_mode(node)):
            raise DeniedError(f"device node {node} is no character device", final=True)


def groups_of(start: Start) -> tuple[str, ...]:
    """Return the groups that an engine has to be in to open its device nodes; root's is none of them."""
    return tuple(dict.fromkeys(_groups(start)))


def _groups(start: Start) -> Iterator[str]:
    for node in start.device_nodes:
        found = os.stat(node)  # noqa: PTH116  # follows links, as the kernel does
        if not found.st_mode & stat.S_IROTH and found.st_mode & stat.S_IRGRP and found.st_gid != 0:
            yield _name_of(found.st_gid)


def _name_of(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _is_own(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in _OWN_VARIABLES)


def _is_below(path: str, folders: list[Path]) -> bool:
    """Whether a path is one of the folders or below it, with no link on the way from there."""
    place = Path(path)
    return place == resolved(place) and any(place == each or each in place.parents for each in folders)


def _mode(node: str) -> int:
    try:
        return os.stat(node).st_mode  # noqa: PTH116
    except OSError as error:
        raise DeniedError(f"device node {node} cannot be looked at: {error.strerror}") from error
