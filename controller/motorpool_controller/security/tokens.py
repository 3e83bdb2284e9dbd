"""Bearer tokens: how they look, how they are checked.

``mp_<id>_<secret>`` for people and programs; ``mpj_<id>_<secret>_<fingerprint>`` for machines that join, where the
fingerprint is the SHA-256 of the authority's certificate, so that a machine knows whom it joins. Of the secret, 256
random bits, only the SHA-256 is stored: there is nothing to guess, so no slow hash is needed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

_FORM = re.compile(r"(?P<kind>mpj?)_(?P<id>[a-z0-9]{10})_(?P<secret>[0-9a-f]{64})(?:_(?P<fingerprint>[0-9a-f]{64}))?")
_ID_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_ID_LENGTH = 10


@dataclass(frozen=True, slots=True)
class Bearer:
    """A bearer token, read: which stored token it claims to be, and the secret that proves it."""

    token_id: str
    secret: str

    def matches(self, secret_hash: bytes) -> bool:
        """Return whether the secret is the one that was stored; takes equally long for every wrong one."""
        return hmac.compare_digest(hash_secret(self.secret), secret_hash)


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just made: ``text`` is shown once, ``secret_hash`` is stored."""

    token_id: str
    secret_hash: bytes
    text: str


def new_token() -> NewToken:
    """Return a token for people and programs."""
    token_id, secret = _made()
    return NewToken(token_id, hash_secret(secret), f"mp_{token_id}_{secret}")


def new_join_token(ca_fingerprint: str) -> NewToken:
    """Return a token for machines that join the cluster of that authority."""
    token_id, secret = _made()
    return NewToken(token_id, hash_secret(secret), f"mpj_{token_id}_{secret}_{ca_fingerprint}")


def read_token(text: str) -> Bearer | None:
    """Return what a bearer token says; None if it is none of ours."""
    found = _FORM.fullmatch(text)
    if found is None or (found["kind"] == "mpj") != (found["fingerprint"] is not None):
        return None
    return Bearer(found["id"], found["secret"])


def hash_secret(secret: str) -> bytes:
    """Return what is stored of a secret."""
    return hashlib.sha256(secret.encode()).digest()


def _made() -> tuple[str, str]:
    return "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH)), secrets.token_hex(32)
