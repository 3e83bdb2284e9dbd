"""How the policy says no."""

from __future__ import annotations


class DeniedError(Exception):
    """Something that is outside the policy; the message says what, and which line would allow it.

    ``final`` if no line of the policy would: it is the request that has to be corrected.
    """

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.final = final
