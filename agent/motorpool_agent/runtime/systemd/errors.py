"""What can go wrong between the agent and systemd."""

from __future__ import annotations


class UnreachableError(Exception):
    """Nobody answers, or not in time: nothing is known."""

    reason = "SYSTEMD_UNREACHABLE"

    def __init__(self, what: str, said: str) -> None:
        self.message = f"systemd does not answer `{what}`: {said}; `systemctl is-system-running` on the node says more"
        super().__init__(self.message)
