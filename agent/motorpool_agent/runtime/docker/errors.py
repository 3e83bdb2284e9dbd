"""What can go wrong between the agent and the Docker Engine.

RuntimeFault
├── UnreachableError       DOCKER_UNREACHABLE   it is not there, does not answer, or may not be asked
└── RefusedError           DOCKER_REFUSED       it answered, and said no
"""

from __future__ import annotations

from motorpool_agent.runtime.errors import RuntimeFault


class UnreachableError(RuntimeFault):
    """The Docker Engine cannot be asked now."""

    def __init__(self, address: str, detail: str) -> None:
        super().__init__(
            "DOCKER_UNREACHABLE",
            f"the Docker Engine does not answer at {address} ({detail}); install and start it (on Debian and Ubuntu: "
            "apt-get install docker.io), give the agent's user access to its socket (group docker), set DOCKER_HOST "
            "in the agent's environment if it listens elsewhere, or deploy without an image, by a version "
            "of a backend that runs as a process",
        )
        self.detail = detail


class RefusedError(RuntimeFault):
    """The Docker Engine's no; ``status`` is that of HTTP."""

    def __init__(self, status: int, explanation: str) -> None:
        super().__init__("DOCKER_REFUSED", f"the Docker Engine refused: {explanation}")
        self.status = status
        self.explanation = explanation
