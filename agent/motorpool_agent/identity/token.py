"""The join token: what buys a machine its first certificate."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from motorpool_agent.identity.errors import RefusedError

_TOKEN = re.compile(
    r"mpj_(?P<token_id>[A-Za-z0-9-]{1,64})_(?P<secret>[A-Za-z0-9_-]{8,256})_(?P<fingerprint>[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A join token. ``fingerprint`` is the lower-case hex SHA-256 of the cluster authority's certificate in DER."""

    text: str = field(repr=False)
    token_id: str
    fingerprint: str

    @classmethod
    def parse(cls, text: str) -> JoinToken:
        """Return the token that ``text`` is, or raise a RefusedError that does not repeat it."""
        match = _TOKEN.fullmatch(text.strip())
        if match is None:
            raise RefusedError(
                "the join token is malformed: it is mpj_, an id, a secret and 64 hex digits, joined by underscores; "
                "copy the whole output of `motorpool-controller token join`",
                reason="TOKEN_INVALID",
            )
        return cls(match.group(), match["token_id"], match["fingerprint"])
