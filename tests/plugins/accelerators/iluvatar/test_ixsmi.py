"""What ixsmi printed on a real machine, in full."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool_iluvatar import ixsmi
from motorpool_iluvatar.records import Card, Reading

MIB = 2**20
PRINTED = (Path(__file__).parent / "recordings" / "ixsmi_mr-v100_4.2.0.xml").read_text()


def chip(index: int, address: str, uuid: str) -> Card:
    return Card(
        index=index,
        pci_address=address,
        uuid=uuid,
        minor=index,
        name="Iluvatar MR-V100",
        total_bytes=32768 * MIB,
        driver_version="4.2.0",
        cuda_version="10.2",
    )


def figures(used: int, watts: float, process: tuple[int, int]) -> Reading:
    return Reading(
        used_bytes=used * MIB,
        total_bytes=32768 * MIB,
        percent=0.0,
        celsius=44.0,
        watts=watts,
        processes=((process[0], process[1] * MIB),),
        double_bit_errors=0,
    )


def test_recorded_cards_are_read_whole() -> None:
    """
    Every card of the XML stands in its records, with figures that carry units, and the processes on it.
    """
    assert [
        (
            chip(0, "0000:0c:00.0", "GPU-1ac807aa-cbcd-5579-8591-d59d436d6eca"),
            figures(27780, 37.0, (21039, 27664)),
        ),
        (
            chip(1, "0000:0f:00.0", "GPU-be5622c9-df8e-56fb-8586-86e94d57c938"),
            figures(27716, 39.0, (22550, 27600)),
        ),
    ] == ixsmi.cards(PRINTED)


def test_a_container_without_the_sdk_tells_less() -> None:
    """
    N/A is unknown, and warnings before the XML are passed over.
    """
    printed = "warning: no SDK\n" + PRINTED.replace("<cuda_version>10.2<", "<cuda_version>N/A<").replace("37 W", "N/A")

    (card, reading), _ = ixsmi.cards(printed)

    assert ("", None) == (card.cuda_version, reading.watts)


@pytest.mark.promise("P9")
@given(data=st.data())
def test_whatever_is_printed_is_read_or_left(data: st.DataObject) -> None:
    """
    XML that is cut off, or of which lines are missing or doubled, gives cards or none, and never raises.
    """
    lines = PRINTED.splitlines()
    first = data.draw(st.integers(0, len(lines)))
    length = data.draw(st.integers(0, 8))
    again = data.draw(st.integers(0, 2))
    printed = "\n".join([*lines[:first], *(lines[first : first + length] * again), *lines[first + length :]])

    for card, reading in ixsmi.cards(printed[: data.draw(st.integers(0, len(printed)))] if length > 6 else printed):
        assert card.total_bytes is None or card.total_bytes >= 0
        assert reading.used_bytes is None or reading.used_bytes >= 0
