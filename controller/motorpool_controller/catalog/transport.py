"""The HTTP client under every hub: follows the environment's proxies, and no answer is endless."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

import httpx2

from motorpool_controller.catalog.budget import MOST_ANSWER_BYTES, REQUEST_SECONDS, current
from motorpool_controller.domain.errors import PreconditionError
from motorpool_controller.domain.sizes import in_words

# They would write addresses that are signed for us alone, and at debug level the headers with the token.
for _chatty in ("httpx2", "httpcore2"):
    logging.getLogger(_chatty).setLevel(logging.WARNING)

MOST_REDIRECTS = 5
PLAIN = {"Accept-Encoding": "identity"}
"""Headers of every request: bytes are counted as they come, and nothing is unpacked into more."""


def bounded_client() -> httpx2.Client:
    """Return a client whose answers are counted, and cut where a look-up's budget ends."""
    return httpx2.Client(
        event_hooks={"request": [_before], "response": [_after]},
        follow_redirects=True,
        max_redirects=MOST_REDIRECTS,
        timeout=REQUEST_SECONDS,
    )


def ranged(client: httpx2.Client, url: str, headers: dict[str, str], offset: int, count: int, size: int) -> bytes:
    """Return up to ``count`` bytes of a file of ``size`` from ``offset``: fewer if the connection broke off.

    Raises httpx2's errors for what went wrong before the first byte, and for an answer that is no part of this file.
    """
    asked = {**headers, **PLAIN, "Range": f"bytes={offset}-{offset + count - 1}"}
    budget = current()
    seconds = REQUEST_SECONDS if budget is None else budget.request_seconds()
    pieces: list[bytes] = []
    have = 0
    with client.stream("GET", url, headers=asked, timeout=seconds) as answer:
        if answer.is_error:
            answer.read()
            answer.raise_for_status()
        if not _is_part(answer, offset, size):
            raise strange(
                url, f"it was asked for bytes {offset} to {offset + count - 1} of {size}, and answers with others"
            )
        try:
            for piece in answer.iter_raw():
                pieces.append(piece[: count - have])
                have += len(pieces[-1])
                if have >= count:  # a server that knows no ranges would go on with the weights
                    break
        except httpx2.TransportError:
            if not have:
                raise
    return b"".join(pieces)


def strange(url: str, what: str) -> PreconditionError:
    """Return the error of an answer that cannot be what was asked for."""
    return PreconditionError(
        "HUB_ANSWER_INVALID",
        f"{urlsplit(url).netloc} gave an answer that cannot be used: {what}; is it a hub, and does a proxy change what "
        "it sends?",
    )


def _is_part(answer: httpx2.Response, offset: int, size: int) -> bool:
    """Whether the answer begins at ``offset`` of a file of ``size``. A server may also send the whole."""
    if answer.status_code == httpx2.codes.OK:
        length = answer.headers.get("Content-Length")
        return offset == 0 and (length is None or length == str(size))
    if answer.status_code != httpx2.codes.PARTIAL_CONTENT:
        return False
    unit, _, rest = answer.headers.get("Content-Range", "").partition(" ")
    span, _, total = rest.partition("/")
    return unit == "bytes" and span.partition("-")[0] == str(offset) and total in {str(size), "*"}


def _before(_request: httpx2.Request) -> None:
    budget = current()
    if budget is not None:
        budget.requested()


def _after(answer: httpx2.Response) -> None:
    url = str(answer.request.url)
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise strange(url, "it is packed, though that was declined")
    if answer.has_redirect_location and answer.request.url.scheme == "https":
        target = urljoin(url, answer.headers["Location"])
        if urlsplit(target).scheme != "https":
            raise strange(url, f"it leads from https to {urlsplit(target).scheme}")
    # What is asked for in ranges is bounded by who asks; everything else is held whole.
    most = None if "Range" in answer.request.headers and answer.is_success else MOST_ANSWER_BYTES
    if isinstance(answer.stream, httpx2.SyncByteStream):
        answer.stream = _Counted(answer.stream, url, most)


class _Counted(httpx2.SyncByteStream):
    """An answer's body, paid for as it comes."""

    def __init__(self, body: httpx2.SyncByteStream, url: str, most: int | None) -> None:
        self._body = body
        self._url = url
        self._most = most

    def __iter__(self) -> Iterator[bytes]:
        total = 0
        for piece in self._body:
            budget = current()
            if budget is not None:
                budget.fetched(len(piece))
            total += len(piece)
            if self._most is not None and total > self._most:
                raise strange(self._url, f"it is longer than {in_words(self._most)}")
            yield piece

    def close(self) -> None:
        """Let the connection go."""
        self._body.close()
