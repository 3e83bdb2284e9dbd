"""What mx-smi printed on real machines, in full."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool_metax.mx_smi import MxSmi
from motorpool_metax.records import Card
from motorpool_sdk import DeviceError, Sample

HERE = Path(__file__).parent / "recordings"
MIB = 2**20
# Driver, MACA, name; then address, used MiB, temperature, watts of 65536 MiB.
TABLES: dict[str, tuple[str, str, str, list[tuple[str, int, int, int]]]] = {
    "table_c500_2.2.9": (
        "3.4.4",
        "3.3.0.15",
        "MetaX C500",
        [
            ("0000:0e:00.0", 826, 35, 57),
            ("0000:0f:00.0", 826, 37, 58),
            ("0000:10:00.0", 826, 36, 58),
            ("0000:12:00.0", 826, 35, 60),
            ("0000:35:00.0", 826, 33, 57),
            ("0000:36:00.0", 826, 34, 56),
            ("0000:37:00.0", 826, 34, 55),
            ("0000:38:00.0", 826, 36, 56),
        ],
    ),
    "table_c550_2.2.4": (
        "2.15.9",
        "2.32.0.6",
        "MetaX C550",
        [("0000:0f:00.0", 858, 29, 53), ("0000:34:00.0", 858, 29, 53)],
    ),
    "table_n260_2.2.8": ("3.0.11", "3.1.0.14", "MetaX N260", [("0000:01:00.0", 666, 37, 29)]),
}
every_recording = pytest.mark.parametrize("name", sorted(TABLES))


def recorded(name: str) -> str:
    return (HERE / f"{name}.txt").read_text()


@every_recording
def test_a_recorded_table_is_read_whole(name: str) -> None:
    """
    Every card of every release's table stands in its record.
    """
    driver, maca, called, rows = TABLES[name]

    assert [
        Card(
            index=index,
            pci_address=address,
            name=called,
            total_bytes=65536 * MIB,
            driver_version=driver,
            maca_version=maca,
        )
        for index, (address, *_) in enumerate(rows)
    ] == MxSmi().read(recorded(name))


@every_recording
def test_recorded_figures_are_measurements(name: str) -> None:
    """
    Used bytes, load, temperature and power are the table's.
    """
    assert [
        Sample(
            device_id="",
            used_bytes=used * MIB,
            utilization_ratio=0.0,
            temperature_celsius=float(celsius),
            power_watts=float(watts),
        )
        for _, used, celsius, watts in TABLES[name][3]
    ] == [MxSmi().reading(row) for row in MxSmi().rows(recorded(name))]


def test_half_a_row_loses_its_figures() -> None:
    """
    A table that is cut off within a card has the card, and nothing of its second line.
    """
    cut = "\n".join(recorded("table_n260_2.2.8").splitlines()[:-1])

    assert [None] == [card.total_bytes for card in MxSmi().read(cut) if isinstance(card, Card)]


def test_a_row_without_an_address_is_an_error() -> None:
    """
    A card that cannot be told from another one tomorrow is an error that says so.
    """
    (error,) = MxSmi().read(recorded("table_n260_2.2.8").replace("0000:01:00.0", "N/A         "))

    assert isinstance(error, DeviceError)
    assert "prints no PCI address" in error.message


@pytest.mark.promise("P9")
@every_recording
@given(data=st.data())
def test_whatever_is_printed_is_read_or_left(name: str, data: st.DataObject) -> None:
    """
    Lines that are missing, doubled, shortened, in another order or of N/A only never raise, and make up no bytes.
    """
    lines = recorded(name).splitlines()
    kept = data.draw(st.lists(st.sampled_from(lines), max_size=len(lines) + 3))
    width = data.draw(st.integers(0, 90))
    masked = data.draw(st.booleans())
    printed = "\n".join(line[:width].replace("0", "N/A") if masked else line[:width] for line in kept)

    for row in MxSmi().rows(printed):
        sample = MxSmi().reading(row)
        assert sample.used_bytes is None or sample.used_bytes >= 0
    MxSmi().read(printed)
