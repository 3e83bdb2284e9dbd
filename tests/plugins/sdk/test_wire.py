"""Frames between a host and a plugin's process."""

import socket
from pathlib import Path

import msgspec
import pytest

from motorpool_sdk import LaunchRequest, Option, OptionKind, Parameter, WireError, wire

REQUEST = LaunchRequest(
    backend_version="1",
    framework="cpu",
    model_path=Path("/models/ü.gguf"),
    served_model_name="m",
    listen_address="::1",
    port=1,
    parameters=(Parameter(option="c", values=("1",)),),
    tensor_split=(0.5, 0.5),
)


def test_values_arrive_as_they_were() -> None:
    """
    Paths, tuples, enumerations and unknowns survive the wire.
    """
    option = Option(name="x", kind=OptionKind.JSON)

    assert REQUEST == wire.decode(wire.encode(REQUEST), LaunchRequest)
    assert (option,) == wire.decode(wire.encode((option,)), tuple[Option, ...])


def test_frames_keep_their_bounds() -> None:
    """
    Two frames in one stream come out as two.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for number in (1, 2):
            body = msgspec.Raw(wire.encode(REQUEST))
            ours.sendall(wire.frame(wire.Request(id=number, method="launch", deadline=9.5, body=body)))
        ours.shutdown(socket.SHUT_WR)
        received = []
        while (content := wire.receive(theirs)) is not None:
            received.append(wire.decode(content, wire.Request))

    assert [(1, "launch", 9.5), (2, "launch", 9.5)] == [(each.id, each.method, each.deadline) for each in received]
    assert REQUEST == wire.decode(received[1].body, LaunchRequest)


def test_a_frame_cut_off_is_the_end() -> None:
    """
    A peer that dies in the middle of a frame is gone, not waited for.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"\0\0\0\x09abc")
        ours.shutdown(socket.SHUT_WR)
        assert wire.receive(theirs) is None


def test_a_frame_too_long_is_refused_by_its_announcement() -> None:
    """
    No memory is taken for a frame that announces more than a frame may have, and none is sent.
    """
    with pytest.raises(WireError, match="announces 4294967295 bytes"):
        wire.length(b"\xff\xff\xff\xff")
    with pytest.raises(WireError, match="is too long; 4194304 is the most"):
        wire.frame(wire.Response(id=1, error="x" * wire.MOST_BYTES))


@pytest.mark.parametrize("value", [object(), {1: object()}, "\ud800", 1j])
def test_what_has_no_json_form_is_refused(value: object) -> None:
    """
    A value that cannot be sent is an error at the sender.
    """
    with pytest.raises(WireError, match="cannot be sent"):
        wire.encode(value)
