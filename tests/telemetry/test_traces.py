import pytest

from motorpool_telemetry.traces import child, read, sampled, span_id, trace_id

PLACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_place_is_read() -> None:
    """
    A traceparent is read with its ids; of its flags only whether it is kept, and a later version as ours.
    """
    assert PLACE == read(PLACE)
    assert PLACE == read(PLACE.replace("00-4", "cc-4") + "-more")
    assert ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7") == (trace_id(PLACE), span_id(PLACE))
    assert [True, False] == [sampled(read(PLACE[:-2] + flags)) for flags in ("03", "02")]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        PLACE + "-more",
        PLACE.replace("00-4", "ff-4"),
        PLACE.upper(),
        "00-" + "0" * 32 + PLACE[35:],
        PLACE[:36] + "0" * 16 + "-01",
        PLACE[:-1] + "x",
        PLACE + "\n",
        "cc" + PLACE[2:] + "-" + "x" * 100,
    ],
)
def test_what_is_no_place_is_none(text: str) -> None:
    """
    Whatever else stands there is no trace, and no error.
    """
    assert "" == read(text)


def test_places_below_are_worked_out() -> None:
    """
    The same words name the same place of the same trace, other words another one; below nothing there is nothing.
    """
    first, second = child(PLACE, "launch", "1"), child(PLACE, "launch", "2")

    assert first == child(PLACE, "launch", "1") == read(first)
    assert 3 == len({PLACE, first, second})
    assert {trace_id(PLACE)} == {trace_id(first), trace_id(second)}
    assert "" == child("", "launch")
