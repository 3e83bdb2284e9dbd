"""What a hub's refusals mean, and what to do about them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2

from motorpool_controller.catalog.budget import RETRY_SECONDS, current
from motorpool_controller.domain.errors import DomainError, NotFoundError, PreconditionError, UnavailableError
from motorpool_controller.domain.names import shown

MOST_RETRY_SECONDS = 3_600.0
_SAID_CHARACTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked of which hub, in words, and which variables change how it is asked."""

    hub: str
    endpoint: str
    endpoint_variable: str
    token_variable: str
    has_token: bool
    repository: str
    revision: str = ""
    file: str = ""

    @property
    def where(self) -> str:
        """The hub and its address."""
        return f"{self.hub} ({self.endpoint})"

    @property
    def what(self) -> str:
        """Repository, revision and file, as far as they were given."""
        revision = f" at revision {shown(self.revision)}" if self.revision else ""
        return f"{shown(self.repository)}{revision}"

    def of(self, file: str) -> Asked:
        """Return the question for a file of it."""
        return replace(self, file=file)


@contextmanager
def explained(asked: Asked) -> Iterator[None]:
    """Have the HTTP errors of a block leave it as DomainErrors."""
    try:
        yield
    except httpx2.HTTPStatusError as error:
        raise of_answer(error.response, asked) from error
    except httpx2.TooManyRedirects as error:
        raise PreconditionError(
            "HUB_ANSWER_INVALID",
            f"{asked.where} redirects in circles; check {asked.endpoint_variable}, and the proxy if there is one",
        ) from error
    except (httpx2.TransportError, httpx2.InvalidURL, httpx2.StreamError) as error:
        raise _unreached(error, asked) from error


def of_answer(answer: httpx2.Response, asked: Asked) -> DomainError:
    """Return what an answer that is an error means."""
    status = answer.status_code
    code = answer.headers.get("X-Error-Code", "")
    if status == httpx2.codes.TOO_MANY_REQUESTS:
        seconds = _retry_seconds(answer)
        return UnavailableError(
            "HUB_BUSY",
            f"{asked.where} takes no more requests now (429); try again in {seconds:.0f} s"
            + ("" if asked.has_token else f". With a token in {asked.token_variable} it takes more"),
            retry_seconds=seconds,
        )
    if status >= httpx2.codes.INTERNAL_SERVER_ERROR or status == httpx2.codes.REQUEST_TIMEOUT:
        return UnavailableError(
            "HUB_FAILED",
            f"{asked.where} failed ({status}{_said(answer)}) when asked for {asked.what}; try again later",
            retry_seconds=RETRY_SECONDS,
        )
    if code == "GatedRepo":
        return _gated(asked)
    if status == httpx2.codes.UNAUTHORIZED:
        return _unknown_caller(answer, asked)
    if status == httpx2.codes.FORBIDDEN:
        return PreconditionError(
            "HUB_FORBIDDEN",
            f"{asked.where} forbids the controller {asked.what}{_said(answer)}; "
            f"{_token(asked)} must be allowed to read it",
        )
    if status in {httpx2.codes.NOT_FOUND, httpx2.codes.GONE}:
        return not_found(asked, code)
    return PreconditionError(
        "HUB_ANSWER_INVALID",
        f"{asked.where} answers {status}{_said(answer)} when asked for {asked.what}; check {asked.endpoint_variable}",
    )


def not_found(asked: Asked, code: str = "") -> NotFoundError:
    """Return the error of something that the hub does not have, naming the nearest that it lacks."""
    if code == "RevisionNotFound":
        what, todo = (
            f"{shown(asked.repository)} has no revision {shown(asked.revision)}",
            "give a branch, tag or commit",
        )
        missing = "revision"
    elif code == "EntryNotFound" or (asked.file and code != "RepoNotFound"):
        what, todo = f"there is no file {shown(asked.file)} in {asked.what}", "give one that the hub lists"
        missing = "file"
    else:
        hidden = "" if asked.has_token else f"; if it is private, set {asked.token_variable} for the controller"
        what, todo = f"there is no repository {shown(asked.repository)}", f"check owner and name{hidden}"
        missing = "repository"
    return NotFoundError("MODEL_NOT_FOUND", f"{asked.where}: {what}; {todo}", metadata={"missing": missing})


def offline(asked: Asked, variable: str) -> PreconditionError:
    """Return the error of a hub that must not be asked, of something that is not known from before."""
    return PreconditionError(
        "HUB_OFFLINE",
        f"{asked.what} was never read from {asked.where}, and {variable} keeps the controller from asking; unset it, "
        "or give a path that a node has",
    )


def _gated(asked: Asked) -> PreconditionError:
    todo = (
        f"ask for access there with the account whose token is in {asked.token_variable}"
        if asked.has_token
        else f"ask for access there, and set {asked.token_variable} for the controller to a token of that account"
    )
    return PreconditionError(
        "MODEL_GATED",
        f"{shown(asked.repository)} on {asked.where} is a gated model: its owner says who may read it; {todo}",
        metadata={"variable": asked.token_variable},
    )


def _unknown_caller(answer: httpx2.Response, asked: Asked) -> PreconditionError:
    if asked.has_token:
        return PreconditionError(
            "HUB_TOKEN_INVALID",
            f"{asked.where} does not take the token in {asked.token_variable} for {asked.what} (401{_said(answer)}); "
            "it is wrong, expired, or may not read this: set another for the controller, and start it again",
            metadata={"variable": asked.token_variable},
        )
    return PreconditionError(
        "HUB_TOKEN_MISSING",
        f"{asked.where} wants a token for {asked.what} (401), or has no such repository, which it does not tell "
        f"strangers: check the name, or set {asked.token_variable} for the controller, and start it again",
        metadata={"variable": asked.token_variable},
    )


def _token(asked: Asked) -> str:
    return f"the token in {asked.token_variable}" if asked.has_token else f"a token in {asked.token_variable}"


def _unreached(error: Exception, asked: Asked) -> DomainError:
    budget = current()
    if budget is not None and isinstance(error, httpx2.TimeoutException):
        budget.request_seconds()  # it was the look-up's own time that ended
    if isinstance(error, httpx2.TimeoutException):
        what = "did not answer in time"
    elif isinstance(error, httpx2.RemoteProtocolError):
        what = f"broke off its answer ({_words(error)})"
    elif isinstance(error, httpx2.ProxyError):
        what = f"cannot be reached through the proxy ({_words(error)})"
    else:
        what = f"cannot be reached ({_words(error)})"
    return UnavailableError(
        "HUB_UNREACHABLE",
        f"{asked.where} {what}; check the network, {asked.endpoint_variable} and the proxy variables of the "
        "controller, and try again",
        retry_seconds=RETRY_SECONDS,
    )


def _words(error: Exception) -> str:
    return shown(str(error) or type(error).__name__)


def _said(answer: httpx2.Response) -> str:
    """Return what the hub says of it, after a comma; empty where that is nothing for a person."""
    said = answer.headers.get("X-Error-Message", "")[:_SAID_CHARACTERS]
    return f", {shown(said)}" if said else ""


def _retry_seconds(answer: httpx2.Response) -> float:
    """Return in how long the hub wants to be asked again; RFC 9110 allows seconds or a date."""
    given = answer.headers.get("Retry-After", "").strip()
    if given.isascii() and given.isdigit():
        return min(float(given[:9]), MOST_RETRY_SECONDS)
    try:
        date = parsedate_to_datetime(given)
    except ValueError:
        return RETRY_SECONDS
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return min(max(0.0, (date - datetime.now(UTC)).total_seconds()), MOST_RETRY_SECONDS)
