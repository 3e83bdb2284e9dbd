"""Calls that find the controller that leads, among several: each goes to the one that answered last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import grpc

from motorpool_cli import failures

STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
_HOPS = 8
"""So often a stream that brought nothing yet is opened elsewhere before its caller is told."""


class Servers:
    """The controllers that are known, and a channel to each that was asked."""

    def __init__(self, addresses: Sequence[str], dial: Callable[[str], grpc.Channel]) -> None:
        self._addresses = list(addresses)
        self._dial = dial
        self._channels: dict[str, grpc.Channel] = {}

    @property
    def present(self) -> str:
        """The one that is asked now."""
        return self._addresses[0]

    @property
    def several(self) -> bool:
        """Whether there is another one to be asked."""
        return len(self._addresses) > 1

    def channel(self) -> grpc.Channel:
        """Return the channel to the present one."""
        if self.present not in self._channels:
            self._channels[self.present] = self._dial(self.present)
        return self._channels[self.present]

    def failed(self, asked: str, error: grpc.RpcError) -> bool:
        """Take in that a call to ``asked`` failed; return whether another controller is worth asking at once."""
        leaders = failures.leaders(error)
        if leaders is not None:
            if leaders:
                # Told by one of them, over its TLS; who is named has to show a certificate of the same authority.
                self._addresses = [*leaders, *(each for each in self._addresses if each not in leaders)]
            elif asked == self.present:
                self._next()
            return self.present != asked and bool(leaders)
        if failures.reason(error) == STORE_UNAVAILABLE and asked == self.present:
            # It may be this one alone that cannot reach the database: the next time another one is asked.
            self._next()
            return False
        if failures.unanswered(error) and asked == self.present and self.several:
            self._next()
            return True
        return self.present != asked

    def close(self) -> None:
        """Close every channel."""
        for channel in self._channels.values():
            channel.close()

    def _next(self) -> None:
        self._addresses = [*self._addresses[1:], self._addresses[0]]


class Followed(grpc.Channel):
    """A channel to whichever controller leads."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    def unary_unary(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Return a call of one answer."""
        return _Unary(self._servers, lambda channel: channel.unary_unary(method, *arguments, **named))

    def unary_stream(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Return a call of many answers."""
        return _Stream(self._servers, lambda channel: channel.unary_stream(method, *arguments, **named))

    def stream_unary(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Return a call of many requests, which goes to the present controller alone."""
        return self._servers.channel().stream_unary(method, *arguments, **named)

    def stream_stream(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Return a call of both, which goes to the present controller alone."""
        return self._servers.channel().stream_stream(method, *arguments, **named)

    def subscribe(self, callback: Any, try_to_connect: bool | None = None) -> None:
        """Do nothing: no command asks."""

    def unsubscribe(self, callback: Any) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Close every channel."""
        self._servers.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


class _Unary:
    """A call of one answer, on the channel that is the present one when it is made."""

    def __init__(self, servers: Servers, make: Callable[[grpc.Channel], Any]) -> None:
        self._servers = servers
        self._make = make

    def __call__(self, request: Any, **named: Any) -> Any:
        return self.with_call(request, **named)[0]

    def with_call(self, request: Any, **named: Any) -> Any:
        asked = self._servers.present
        try:
            return self._make(self._servers.channel()).with_call(request, **named)
        except grpc.RpcError as error:
            # Whether it is made again is for who knows what it does: Retries.
            error.elsewhere = self._servers.failed(asked, error)  # type: ignore[attr-defined]  # ours
            raise


class _Stream:
    """A call of many answers. One that was turned away before its first answer is made again where it belongs."""

    def __init__(self, servers: Servers, make: Callable[[grpc.Channel], Any]) -> None:
        self._servers = servers
        self._make = make

    def __call__(self, request: Any, **named: Any) -> Iterator[Any]:
        for hop in range(_HOPS):
            asked, begun = self._servers.present, False
            try:
                for answer in self._make(self._servers.channel())(request, **named):
                    begun = True
                    yield answer
            except grpc.RpcError as error:
                if not self._servers.failed(asked, error) or begun or hop == _HOPS - 1:
                    raise
            else:
                return
