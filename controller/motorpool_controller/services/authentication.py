"""Who calls: the holder of a token, or the agent of a certificate; and who may not go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import ParamSpec, Protocol, TypeVar

from motorpool_controller.domain.errors import DomainError, ForbiddenError, RateLimitedError, UnauthenticatedError
from motorpool_controller.domain.fleet import Node
from motorpool_controller.security.authorities import Authorities
from motorpool_controller.security.authority import AgentIdentity, agent_identity
from motorpool_controller.security.tokens import read_token
from motorpool_controller.services.callers import Caller, Context, address_of, site_of
from motorpool_controller.services.rates import Rate, Rates
from motorpool_controller.services.roles import Role
from motorpool_controller.store.errors import StoreError
from motorpool_controller.store.restoration import Restoration
from motorpool_controller.store.store import Store
from motorpool_controller.store.tokens import StoredToken, TokenTable

R = TypeVar("R")
P = ParamSpec("P")

WRONG_OF_ONE = Rate(burst=200, per_second=20.0)
WRONG_OF_ALL = Rate(burst=2_000, per_second=200.0)
"""How often tokens that are not ours are looked up: a secret cannot be guessed, but each try costs a read."""
_RENEW = "/motorpool.v1.AgentService/Renew"
_HEALTH = "/grpc.health.v1.Health/"
HEALTH_SECONDS = 0.5
"""How long who asks for our health waits for a look at his token: a database that is silent is what he asks about."""
_HEALTH_TOKENS = 100
_SECOND = timedelta(seconds=1)
_ENROL = "enrol the machine again with a join token (`motorpool-controller token join`)"


class Authenticator(Protocol):
    """Tells who makes a call, or raises UnauthenticatedError."""

    async def __call__(self, method: str, context: Context) -> Caller:
        """Return the caller."""
        ...


class Tokens(Protocol):
    """Reads the tokens of a database. A store does, and so does a controller that stands by."""

    @property
    def tokens(self) -> TokenTable:
        """The table, whose methods block."""
        ...

    async def beside(self, function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
        """Run what blocks."""
        ...


class TokenAuthenticator:
    """Callers of the public listener: they carry a bearer token."""

    def __init__(
        self,
        store: Tokens,
        clock: Callable[[], datetime],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wrong: Rates | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._monotonic = monotonic
        self._wrong = wrong or Rates(WRONG_OF_ONE, WRONG_OF_ALL)
        self._asked_health: dict[str, StoredToken] = {}
        """Tokens that were good when somebody asked for our health with them, as they were then."""

    async def __call__(self, method: str, context: Context) -> Caller:
        """Return the holder of the call's bearer token."""
        given = [value for key, value in context.invocation_metadata() or () if key == "authorization"]
        if not given:
            raise UnauthenticatedError(
                "CREDENTIALS_MISSING",
                "no credentials came with the call; send the metadata `authorization: Bearer TOKEN` with a token from "
                "`motorpool-controller token create`",
            )
        scheme, _, text = str(given[0]).partition(" ")
        bearer = read_token(text.strip()) if len(given) == 1 and scheme.lower() == "bearer" else None
        if bearer is None:
            raise _invalid()
        site = site_of(address_of(context.peer()))
        wait_seconds = self._wrong.wait_seconds(site, self._monotonic())
        if wait_seconds > 0:
            raise RateLimitedError(
                "RATE_LIMITED",
                f"too many wrong tokens came from {site}; no token from there is looked up for {wait_seconds:.1f} s",
                retry_seconds=wait_seconds,
            )
        if method.startswith(_HEALTH):
            found = await self._found_for_health(bearer.token_id)
        else:
            found = await self._store.beside(self._store.tokens.get, bearer.token_id)
        if found is None or not bearer.matches(found.secret_hash):
            self._wrong.count(site, self._monotonic())
            raise _invalid()
        self._check_time(found)
        # A join token without uses left gets as far as Enroll, which knows whether it made this very node.
        return Caller(role=Role(found.role), token_id=found.token_id, description=found.description)

    async def _found_for_health(self, token_id: str) -> StoredToken | None:
        """Return the token; while the database does not answer, as it was when it last did."""
        known = self._asked_health.pop(token_id, None)
        try:
            async with asyncio.timeout(None if known is None else HEALTH_SECONDS):
                found = await self._store.beside(self._store.tokens.get, token_id)
        except (StoreError, TimeoutError):
            if known is None:
                raise
            found = known
        if found is not None:
            self._asked_health[token_id] = found
            if len(self._asked_health) > _HEALTH_TOKENS:
                del self._asked_health[next(iter(self._asked_health))]
        return found

    async def ended(self, callers: Iterable[Caller]) -> Mapping[Caller, DomainError]:
        """Return whose tokens were revoked, or are over."""
        asked = list(callers)
        stored = await self._store.beside(self._store.tokens.among, list({each.token_id for each in asked}))
        ended: dict[Caller, DomainError] = {}
        for each in asked:
            found = stored.get(each.token_id)
            try:
                if found is None:
                    raise _invalid()
                self._check_time(found)
            except UnauthenticatedError as error:
                ended[each] = error
        return ended

    def _check_time(self, token: StoredToken) -> None:
        if token.expire_time is not None and token.expire_time <= self._clock():
            raise UnauthenticatedError(
                "TOKEN_EXPIRED",
                f"the token's time was over at {token.expire_time:%Y-%m-%d %H:%M:%S} UTC; make another with "
                "`motorpool-controller token`",
            )


def _invalid() -> UnauthenticatedError:
    return UnauthenticatedError(
        "TOKEN_INVALID",
        "the token is malformed, unknown or revoked; make another with `motorpool-controller token`",
    )


class CertificateAuthenticator:
    """Callers of the agents' listener: TLS has checked that the cluster's authority signed their certificate."""

    def __init__(self, store: Store, clock: Callable[[], datetime], authorities: Authorities) -> None:
        self._store = store
        self._clock = clock
        self._authorities = authorities

    async def __call__(self, method: str, context: Context) -> Caller:
        """Return the node whose certificate the connection was made with."""
        pems = context.auth_context().get("x509_pem_cert", ())
        pem, identity = next(((each, found) for each in pems if (found := agent_identity(each))), (b"", None))
        if identity is None:
            raise UnauthenticatedError("CREDENTIALS_MISSING", f"the client certificate names no node; {_ENROL}")
        view = self._store.view
        node = view.node_of(identity.node_uid)
        if identity.cluster_id != view.cluster_id or node is None:
            raise UnauthenticatedError(
                "CERTIFICATE_REVOKED",
                f"node {identity.node_uid} is not one of cluster {view.cluster_id}, or was deleted; {_ENROL}",
            )
        if identity.serial not in node.certificate_serials and not _forgotten(identity, view.restoration):
            raise UnauthenticatedError(
                "CERTIFICATE_REVOKED",
                f"certificate {identity.serial} of {node.name} was replaced by a later enrolment; {_ENROL}",
            )
        check_not_banned(node)
        # A connection may be older than the end of a rotation.
        authority = self._authorities.present().signer(pem)
        if not authority:
            raise _dropped(node.name)
        now = self._clock()
        if identity.renew_end <= now:
            raise UnauthenticatedError(
                "CERTIFICATE_EXPIRED",
                f"the certificate of {node.name} could be renewed until "
                f"{identity.renew_end:%Y-%m-%d %H:%M:%S} UTC; {_ENROL}",
            )
        if identity.session_end <= now and method != _RENEW:
            raise UnauthenticatedError(
                "CERTIFICATE_EXPIRED",
                f"the certificate of {node.name} was good until {identity.session_end:%Y-%m-%d %H:%M:%S} UTC; "
                "call Renew, then open a new session",
            )
        return Caller(
            role=Role.AGENT,
            node=node.name,
            node_uid=node.uid,
            certificate_serial=identity.serial,
            session_end=identity.session_end,
            authority=authority,
        )

    async def ended(self, callers: Iterable[Caller]) -> Mapping[Caller, DomainError]:
        """Return whose nodes were deleted or banned, or whose certificates' authority is trusted no more."""
        ended: dict[Caller, DomainError] = {}
        view, trusted = self._store.view, self._authorities.present().fingerprints
        for each in callers:
            node = view.nodes.get(each.node)
            try:
                if node is None or node.uid != each.node_uid:
                    raise UnauthenticatedError("CERTIFICATE_REVOKED", f"{each.node} was deleted; {_ENROL}")
                check_not_banned(node)
                if each.authority not in trusted:
                    raise _dropped(each.node)
            except DomainError as error:
                ended[each] = error
        return ended


def _dropped(node: str) -> UnauthenticatedError:
    return UnauthenticatedError(
        "CERTIFICATE_REVOKED",
        f"the certificate of {node} was signed by an authority that the cluster trusts no more "
        f"(`motorpool-controller ca finish`); {_ENROL}",
    )


def check_not_banned(node: Node) -> None:
    """Raise if an administrator banned a node."""
    if node.ban is not None:
        by = f" by {node.ban.actor}" if node.ban.actor else ""
        why = f": {node.ban.reason}" if node.ban.reason else ""
        raise ForbiddenError(
            "NODE_BANNED",
            f"{node.name} is banned{by} since {node.ban.time:%Y-%m-%d %H:%M:%S} UTC{why}; `motorpool unban` lets it "
            "back in",
            metadata={"name": node.name},
        )


def _forgotten(identity: AgentIdentity, restored: Restoration | None) -> bool:
    """Return whether a certificate may be one that was given after the backup from which the store was restored.

    It is signed by our authority for a node that we know. Had it been revoked meanwhile, that is forgotten, too.
    """
    # A certificate's times are whole seconds.
    return restored is not None and restored.backup_time - _SECOND <= identity.issue_time <= restored.restore_time
