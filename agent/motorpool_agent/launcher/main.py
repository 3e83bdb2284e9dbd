"""``motorpool-launcher``: its options."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import pwd
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from motorpool_agent.launcher.server import Server, listening
from motorpool_agent.launcher.service import Launcher
from motorpool_agent.policy import DEFAULT_FILE, read

_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve one agent; return 0 once nobody asked for a while, 2 for what cannot be."""
    parser = argparse.ArgumentParser(
        prog="motorpool-launcher",
        description="Starts engines' units for an agent that is not root's, within the machine's launch policy.",
    )
    parser.add_argument("--data-dir", type=Path, default=Path("/var/lib/motorpool/agent"), help="the agent's")
    parser.add_argument("--user", default="motorpool", help="the agent's user; by default %(default)s")
    parser.add_argument("--policy-file", type=Path, default=DEFAULT_FILE, help="by default %(default)s")
    parser.add_argument("--folder", type=Path, default=Path("/run/motorpool-launcher"), help="root's own")
    parser.add_argument("--socket", help="where to listen; by default at the socket that systemd passes on")
    parser.add_argument("--idle-seconds", type=float, help="end when nobody asked for so long; systemd starts it again")
    options = parser.parse_args(arguments)
    if os.geteuid() != 0:
        return _complain("only root may start units of the machine; start motorpool-launcher.socket")
    try:
        uid = pwd.getpwnam(options.user).pw_uid
    except KeyError:
        return _complain(f"there is no user {options.user!r}; `motorpool-agent install` makes it, or give --user")
    if uid == 0:
        return _complain("an agent that is root's needs no launcher; give its own user with --user")
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    policy = partial(read, options.policy_file, required=True)
    os.umask(0o022)
    try:
        launcher = Launcher(options.data_dir.resolve(), options.folder, policy)
        listener = listening(options.socket)
    except OSError as error:
        return _complain(str(error))
    asyncio.run(Server(launcher, uid, idle_seconds=options.idle_seconds).serve(listener))
    return 0


def _complain(what: str) -> int:
    print(f"motorpool-launcher: {what}", file=sys.stderr)  # noqa: T201
    return _USAGE
