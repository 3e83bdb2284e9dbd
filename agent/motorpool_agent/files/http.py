"""A file's bytes from some offset on, over HTTP: by range, through proxies, with few redirects and honest errors."""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from typing import IO
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 30.0
MOST_WAIT_SECONDS = 120.0
_SECRET = frozenset({"authorization", "cookie"})
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class FetchError(Exception):
    """Bytes that do not come. ``passing``: asked again they may; ``wait_seconds`` is what the hub wishes before."""

    def __init__(self, reason: str, message: str, *, passing: bool = False, wait_seconds: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.passing = passing
        self.wait_seconds = wait_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """Who is asked, in words for people and headers for it."""

    name: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    has_token: bool = False
    token_setting: str = ""
    endpoint_setting: str = ""


@dataclass(frozen=True, slots=True)
class Body:
    """An answer that is read; ``start`` is where its bytes begin in the file."""

    stream: http.client.HTTPResponse
    start: int


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Few, never from https to http; and what is secret goes to one host only."""

    max_redirections = 5
    max_repeats = 2

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the next request."""
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if old.scheme == "https" and new.scheme != "https":
            raise FetchError("HUB_ANSWER_INVALID", f"{old.netloc} redirects from https to {new.scheme} ({new.netloc})")
        following = super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]  # typeshed wants HTTPMessage, which is what comes
        if following is not None and (old.scheme, old.netloc) != (new.scheme, new.netloc):
            for name in [name for name in following.headers if name.lower() in _SECRET]:
                following.remove_header(name)
        return following


def opener() -> urllib.request.OpenerDirector:
    """Return what opens addresses: through the environment's proxies, and over HTTP alone."""
    made = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        made.add_handler(handler)
    return made


def open_at(director: urllib.request.OpenerDirector, hub: Hub, url: str, offset: int, size: int) -> Body:
    """Return a file's bytes from ``offset`` on, or from its beginning where the hub ignores ranges."""
    headers = {"Accept-Encoding": "identity", "User-Agent": "motorpool-agent", **hub.headers}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    request = urllib.request.Request(url, headers=headers)  # noqa: S310  # the opener knows http and https alone
    try:
        answer = director.open(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        with error:
            raise _refused(error, hub) from error
    except (OSError, http.client.HTTPException) as error:
        raise unreachable(hub, url, error) from error
    if answer is None:
        raise FetchError("HUB_ANSWER_INVALID", f"{urlsplit(url).scheme} is no way to {hub.name}")
    return Body(answer, _start(answer, hub, offset, size))


def unreachable(hub: Hub, url: str, error: BaseException) -> FetchError:
    """Return what a connection that fails means."""
    why = getattr(error, "reason", None) or error
    return FetchError(
        "HUB_UNREACHABLE",
        f"{hub.name} at {urlsplit(url).netloc} cannot be reached or breaks off ({why}); see to the network, the proxy "
        f"(https_proxy) or the mirror ({hub.endpoint_setting})",
        passing=True,
    )


def _start(answer: http.client.HTTPResponse, hub: Hub, offset: int, size: int) -> int:
    host = urlsplit(answer.url).netloc
    if answer.status == HTTPStatus.OK:
        start, told = 0, answer.length
    elif answer.status == HTTPStatus.PARTIAL_CONTENT and (
        given := _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    ):
        start, told = int(given[1]), None if given[3] == "*" else int(given[3])
        if start != offset:
            answer.close()
            raise FetchError("HUB_ANSWER_INVALID", f"{host} sends bytes from {start} on, and was asked for {offset}")
    else:
        answer.close()
        raise FetchError("HUB_ANSWER_INVALID", f"{host} answers a download with status {answer.status}")
    if told is not None and told != size:
        answer.close()
        raise FetchError(
            "HUB_ANSWER_INVALID",
            f"{host} has {told} bytes of a file that {hub.name} told the controller has {size}; is there a mirror or a "
            f"proxy between that answers for it ({hub.endpoint_setting})?",
        )
    return start


def _refused(error: urllib.error.HTTPError, hub: Hub) -> FetchError:
    code, why = error.headers.get("X-Error-Code", ""), error.headers.get("X-Error-Message", "")[:300]
    host = urlsplit(error.url).netloc
    if code == "GatedRepo":
        return FetchError(
            "MODEL_GATED", f"{hub.name} gives this only to whom its owner allows it ({why}); {_token_advice(hub)}"
        )
    if error.code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        reason = "HUB_FORBIDDEN" if error.code == HTTPStatus.FORBIDDEN else "HUB_TOKEN_INVALID"
        reason = reason if hub.has_token else "HUB_TOKEN_MISSING"
        return FetchError(reason, f"{host} answers {error.code} ({why or error.reason}); {_token_advice(hub)}")
    if error.code in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        return FetchError(
            "MODEL_NOT_FOUND",
            f"{host} has it not ({why or error.reason}), and the controller's hub has; do both ask the same one "
            f"({hub.endpoint_setting})? A private repository is hidden: {_token_advice(hub)}",
        )
    if error.code == HTTPStatus.TOO_MANY_REQUESTS:
        asked = error.headers.get("Retry-After", "")
        wait = float(asked) if asked.isdecimal() else None
        message = f"{host} takes no more requests for now (429); it is asked again later"
        return FetchError("HUB_BUSY", message, passing=wait is None or wait <= MOST_WAIT_SECONDS, wait_seconds=wait)
    if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return FetchError("HUB_FAILED", f"{host} fails ({error.code} {error.reason}); try later", passing=True)
    return FetchError("HUB_ANSWER_INVALID", f"{host} answers a download with status {error.code} ({error.reason})")


def _token_advice(hub: Hub) -> str:
    if hub.has_token:
        return f"the agent's token is not enough: see to {hub.token_setting} on this node"
    return f"give the agent of this node a token by {hub.token_setting}"
