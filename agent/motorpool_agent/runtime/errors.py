"""What can go wrong between an assignment and its running engine.

RuntimeFault
├── LaunchError            reason as in Failure: MODEL_NOT_FOUND, NO_FREE_PORT, POLICY_DENIED, EXEC_FAILED, …
│   └── PortTakenError     PORT_TAKEN: tried again on another port at once
├── StartUnknownError      it was told to start, and nobody can say whether it did: looked for before it is tried again
├── EngineInstallError     ENGINE_INSTALL
└── StopError              STOP_UNPROVEN | STOP_FAILED
"""

from __future__ import annotations


class RuntimeFault(Exception):  # noqa: N818  # RuntimeError is Python's
    """A fault with a stable ``reason``; the message says what, where and what to do."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class LaunchError(RuntimeFault):
    """An instance could not be launched. ``final`` if trying again cannot help."""

    def __init__(self, reason: str, message: str, *, final: bool = False) -> None:
        super().__init__(reason, message)
        self.final = final


class PortTakenError(LaunchError):
    """Another program took the port between its test and the launch."""

    def __init__(self, message: str) -> None:
        super().__init__("PORT_TAKEN", message)


class StartUnknownError(RuntimeFault):
    """Whoever was to start it stopped answering: it may run."""


class EngineInstallError(RuntimeFault):
    """An engine's environment could not be made."""

    def __init__(self, message: str) -> None:
        super().__init__("ENGINE_INSTALL", message)


class StopError(RuntimeFault):
    """An instance could not be stopped, or must not be, as it is not ours for certain."""
