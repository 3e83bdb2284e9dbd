"""Bearer tokens over the API; ``motorpool-controller token`` makes them beside it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import grpc
from google.protobuf.empty_pb2 import Empty

from motorpool import v1
from motorpool_controller.domain.names import resource_id
from motorpool_controller.security.authorities import Authorities
from motorpool_controller.security.tokens import new_join_token, new_token
from motorpool_controller.services import pages
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.fields import invalid, timestamp
from motorpool_controller.services.roles import Role, role_from_proto, role_to_proto
from motorpool_controller.store.store import Store, utc_now
from motorpool_controller.store.tokens import StoredToken, unknown_token

JOIN_TTL = timedelta(hours=1)
LONGEST_TTL = timedelta(days=3650)
DESCRIPTION_LENGTH = 1_000
MOST_USES = 1_000_000


class TokenService(v1.TokenServiceServicer):
    """Makes, lists and revokes tokens."""

    def __init__(self, store: Store, authorities: Authorities, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._authorities = authorities
        self._clock = clock

    async def CreateToken(  # noqa: N802  # gRPC's name
        self,
        request: v1.CreateTokenRequest,
        context: grpc.aio.ServicerContext[v1.CreateTokenRequest, v1.CreateTokenResponse],
    ) -> v1.CreateTokenResponse:
        """Make a token, whose secret is shown once."""
        role = role_from_proto(request.role)
        if role is None or role is Role.AGENT:
            raise invalid("role", "it is none of JOIN, READER, OPERATOR, ADMIN; say what the token may do")
        # What no timedelta holds is refused like any other that is too long or too short.
        seconds = max(-1.0, min(fields.seconds_of(request.ttl), 2 * LONGEST_TTL.total_seconds()))
        ttl = timedelta(seconds=seconds) if request.HasField("ttl") else None
        uses = request.uses if request.HasField("uses") else None
        token, text = make_token(
            role,
            request.description,
            ttl,
            uses,
            now=self._clock(),
            ca_fingerprint=self._authorities.present().serving.fingerprint,
        )
        if request.validate_only:
            return v1.CreateTokenResponse(token=_message(token))
        await self._store.beside(self._store.tokens.add, token)
        return v1.CreateTokenResponse(token=_message(token), secret=text)

    async def ListTokens(  # noqa: N802  # gRPC's name
        self,
        request: v1.ListTokensRequest,
        context: grpc.aio.ServicerContext[v1.ListTokensRequest, v1.ListTokensResponse],
    ) -> v1.ListTokensResponse:
        """Give tokens by name, without their secrets."""
        found = await self._store.beside(self._store.tokens.list)
        page, next_page_token = pages.page(
            found,
            key=lambda token: token.token_id,
            scope=("tokens", self._authorities.cluster_id),
            size=request.page_size,
            token=request.page_token,
        )
        return v1.ListTokensResponse(tokens=[_message(token) for token in page], next_page_token=next_page_token)

    async def DeleteToken(  # noqa: N802  # gRPC's name
        self, request: v1.DeleteTokenRequest, context: grpc.aio.ServicerContext[v1.DeleteTokenRequest, Empty]
    ) -> Empty:
        """Revoke a token; calls already admitted go on."""
        token_id = resource_id(request.name, "tokens")
        if not request.validate_only:
            await self._store.beside(self._store.tokens.delete, token_id)
        elif await self._store.beside(self._store.tokens.get, token_id) is None:
            raise unknown_token(token_id)
        return Empty()


def make_token(
    role: Role,
    description: str,
    ttl: timedelta | None,
    uses: int | None,
    *,
    now: datetime,
    ca_fingerprint: str,
) -> tuple[StoredToken, str]:
    """Return a new token to be stored, and its text. Negative uses mean any number; only join tokens have uses."""
    if ttl is not None and not timedelta(0) < ttl <= LONGEST_TTL:
        raise invalid("ttl", f"it must be more than nothing and at most {LONGEST_TTL.days} days")
    if len(description) > DESCRIPTION_LENGTH:
        raise invalid("description", f"it has {len(description)} characters; at most {DESCRIPTION_LENGTH} are allowed")
    if "\0" in description:
        raise invalid("description", "it has a NUL character; leave it out")
    if role is not Role.JOIN and uses is not None:
        raise invalid("uses", "they are counted for join tokens only; leave them out")
    if uses is not None and (uses == 0 or uses > MOST_USES):
        raise invalid("uses", f"it is {uses}; give 1 to {MOST_USES}, or negative for any number")
    if role is Role.JOIN:
        made = new_join_token(ca_fingerprint)
        ttl = JOIN_TTL if ttl is None else ttl
        uses_left = 1 if uses is None else uses if uses > 0 else None
    else:
        made = new_token()
        uses_left = None
    token = StoredToken(
        token_id=made.token_id,
        role=role.value,
        secret_hash=made.secret_hash,
        description=description,
        create_time=now,
        expire_time=None if ttl is None else now + ttl,
        uses_left=uses_left,
    )
    return token, made.text


def _message(token: StoredToken) -> v1.Token:
    return v1.Token(
        name=f"tokens/{token.token_id}",
        role=role_to_proto(Role(token.role)),
        description=token.description,
        create_time=timestamp(token.create_time),
        expire_time=timestamp(token.expire_time),
        uses_left=token.uses_left,
    )
