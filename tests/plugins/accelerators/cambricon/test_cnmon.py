"""What cnmon printed on real machines, in full."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool_cambricon.cnmon import Cnmon
from motorpool_cambricon.records import Card
from motorpool_sdk import DeviceError, Sample

HERE = Path(__file__).parent / "recordings"
MIB = 2**20
# Driver, name, MiB; then address, temperature, watts. None is in use.
TABLES: dict[str, tuple[str, str, int, list[tuple[str, int, int]]]] = {
    "table_mlu370-x4_5.10.10": (
        "5.10.10",
        "MLU370-X4",
        23308,
        [("0000:1b:00.0", 41, 27), ("0000:36:00.0", 41, 27)],
    ),
    "table_mlu370-x8_5.10.13": (
        "5.10.13",
        "MLU370-X8",
        23374,
        [("0000:39:00.0", 32, 106), ("0000:3d:00.0", 39, 106)],
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
    ] == Cnmon().read(recorded(name))


@every_recording
def test_recorded_figures_are_measurements(name: str) -> None:
    """
    Used bytes, load, temperature and power are the table's.
    """
    assert [
        Sample(
            device_id="",
            used_bytes=0,
            utilization_ratio=0.0,
            temperature_celsius=float(celsius),
            power_watts=float(watts),
        )
        for _, celsius, watts in TABLES[name][3]
    ] == [Cnmon().reading(row) for row in Cnmon().rows(recorded(name))]


def test_an_old_release_prints_no_addresses() -> None:
    """
    Release 4 had other columns: each card is an error that says what is missing, and its figures could be read.
    """
    name = "table_mlu370-x4_4.20.11"
    errors = Cnmon().read(recorded(name))

    assert ["index 0", "index 1"] == [each.device_id for each in errors if isinstance(each, DeviceError)]
    assert [(0, 32.0, 30.0), (0, 33.0, 25.0)] == [
        (sample.used_bytes, sample.temperature_celsius, sample.power_watts)
        for sample in (Cnmon().reading(row) for row in Cnmon().rows(recorded(name)))
    ]


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

    for row in Cnmon().rows(printed):
        sample = Cnmon().reading(row)
        assert sample.used_bytes is None or sample.used_bytes >= 0
    Cnmon().read(printed)
