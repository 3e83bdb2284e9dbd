"""Which authorities an agent trusts, and when it is told to fetch those of now."""

from __future__ import annotations

import re
from collections.abc import Collection

from motorpool import v1
from motorpool_controller.security.authorities import Authorities
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.fields import invalid

MOST_AUTHORITIES = 8
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


class TrustNotice:
    """Tells the agent of a session, once for each change, to renew its certificate: with it comes whom to trust.

    One that told of none in its Hello is older than rotations, and is told nothing.
    """

    def __init__(self, authorities: Authorities, known: Collection[str], per_second: float) -> None:
        self._authorities = authorities
        present = authorities.present().fingerprints
        # Those of now are the same object for a whole fleet.
        self._known = present if present == frozenset(known) else frozenset(known)
        self._per_second = per_second
        self._due: v1.RenewCertificate | None = None

    def look(self, nodes: int) -> bool:
        """Look whether there is something to tell, to so many nodes, all of which renew at about that time."""
        trusted = self._authorities.present().fingerprints
        if not self._known or self._known == trusted:
            return False
        self._known = trusted
        self._due = v1.RenewCertificate(within=fields.duration(nodes / self._per_second))
        return True

    def take(self) -> v1.RenewCertificate | None:
        """Return what is to be told now."""
        due, self._due = self._due, None
        return due


def trusted_of(fingerprints: Collection[str]) -> tuple[str, ...]:
    """Return the authorities of a Hello."""
    if len(fingerprints) > MOST_AUTHORITIES:
        raise invalid(
            "hello.trusted_authorities", f"it names {len(fingerprints)}; an agent trusts {MOST_AUTHORITIES} at most"
        )
    if not all(_FINGERPRINT.fullmatch(each) for each in fingerprints):
        raise invalid("hello.trusted_authorities", "one is no SHA-256 in 64 lower-case hexadecimal digits")
    return tuple(sorted(set(fingerprints)))
