"""What mthreads-gmi printed on real machines, in full."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool_mthreads import gmi
from motorpool_mthreads.records import Card
from motorpool_sdk import DeviceError, Sample

HERE = Path(__file__).parent / "recordings"
MIB = 2**20
# Driver, name, MiB; then address, used MiB, temperature.
TABLES: dict[str, tuple[str, str, int, list[tuple[str, int, int]]]] = {
    "table_s80_2.0.0": ("3.0.0", "MTT S80", 16384, [("0000:01:00.0", 3419, 59)]),
    "table_s4000_2.2.0": ("3.0.0", "MTT S4000", 49152, [("0000:08:00.0", 0, 44), ("0000:09:00.0", 0, 44)]),
    "table_s5000_2.3.2": (
        "3.3.5-server",
        "MTT S5000",
        81920,
        [("0000:2a:00.0", 66641, 52), ("0000:3a:00.0", 64889, 51)],
    ),
    "table_s5000_2.4.1": (
        "5.1.0-server",
        "MTT S5000",
        81920,
        [
            ("0000:18:00.0", 0, 48),
            ("0000:3a:00.0", 0, 48),
            ("0000:4b:00.0", 0, 49),
            ("0000:5c:00.0", 0, 48),
            ("0000:9a:00.0", 0, 48),
            ("0000:ba:00.0", 0, 50),
            ("0000:ca:00.0", 0, 48),
            ("0000:da:00.0", 0, 49),
        ],
    ),
}
every_recording = pytest.mark.parametrize("name", sorted(TABLES))


def recorded(name: str) -> str:
    return (HERE / f"{name}.txt").read_text()


@every_recording
def test_a_recorded_table_is_read_whole(name: str) -> None:
    """
    Every card of every release's table stands in its record.
    """
    driver, called, total, rows = TABLES[name]

    assert [
        Card(index=index, pci_address=address, name=called, total_bytes=total * MIB, driver_version=driver)
        for index, (address, *_) in enumerate(rows)
    ] == gmi.cards(recorded(name))


@every_recording
def test_recorded_figures_are_measurements(name: str) -> None:
    """
    Used bytes, load and temperature are the table's; it tells no power.
    """
    assert [
        Sample(device_id="", used_bytes=used * MIB, utilization_ratio=0.0, temperature_celsius=float(celsius))
        for _, used, celsius in TABLES[name][3]
    ] == [gmi.reading(row) for row in gmi.rows(recorded(name))]


def test_a_row_without_an_address_is_an_error() -> None:
    """
    A card that cannot be told from another one tomorrow is an error that says so.
    """
    (error,) = gmi.cards(recorded("table_s80_2.0.0").replace("00000000:01:00.0", "N/A             "))

    assert isinstance(error, DeviceError)
    assert ("index 0", "`mthreads-gmi` prints no PCI address for it") == (error.device_id, error.message)


@pytest.mark.promise("P9")
@every_recording
@given(data=st.data())
def test_whatever_is_printed_is_read_or_left(name: str, data: st.DataObject) -> None:
    """
    Lines that are missing, doubled, shortened, in another order or of N/A only never raise, and make up no bytes.
    """
    lines = recorded(name).splitlines()
    kept = data.draw(st.lists(st.sampled_from(lines), max_size=len(lines) + 3))
    width = data.draw(st.integers(0, 80))
    masked = data.draw(st.booleans())
    printed = "\n".join(line[:width].replace("0", "N/A") if masked else line[:width] for line in kept)

    for row in gmi.rows(printed):
        sample = gmi.reading(row)
        assert sample.used_bytes is None or sample.used_bytes >= 0
    gmi.cards(printed)
