"""Runs a program that must not outlive the agent: ``python -I -S leash.py PROGRAM ARGUMENT…``.

Standard input is the leash: the agent holds its other end, so that the kernel lets go of it however the agent dies.
Then everything in this process's group is killed, itself last; a lock that it inherited is free from that moment on.
"""

from __future__ import annotations

import os
import select
import signal
import sys


def main(command: list[str]) -> int:
    """Run ``command`` to its end and return its exit status, or to the end of the agent and not return."""
    null = os.open(os.devnull, os.O_RDONLY)
    child = os.posix_spawn(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, null, 0)])
    ended = os.pidfd_open(child)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(0, select.POLLIN)
    while ended not in (ready := [descriptor for descriptor, _ in poll.poll()]):
        if 0 in ready and not os.read(0, 1):
            os.killpg(0, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.exit(status if status >= 0 else 128 - status)
