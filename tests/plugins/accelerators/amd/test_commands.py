"""What AMD's commands printed on real machines, in full."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool_amd import commands
from motorpool_sdk.hardware import rocm, size
from motorpool_sdk.hardware.rocm import Card, Reading

HERE = Path(__file__).parent / "recordings"
MIB = 2**20
MI100 = "Arcturus GL-XL [Instinct MI100]"
NAVI22 = "Navi 22 [Radeon RX 6700/6700 XT / 6800M]"


def recorded(name: str) -> str:
    return (HERE / f"{name}.json").read_text()


# File, driver; then address, unique id, name, total bytes; used bytes, edge's temperature, watts.
Row = tuple[str, int, str, int, int, float, float | None]
TABLES: dict[str, tuple[str, list[Row]]] = {
    "rocm-smi_mi100_rocm571": (
        "6.2.4",
        [
            ("0000:1e:00.0", 0, MI100, 34342961152, 6782976, 31.0, 39.0),
            ("0000:22:00.0", 0, MI100, 34342961152, 6782976, 30.0, 37.0),
            ("0000:3f:00.0", 0, MI100, 34342961152, 6782976, 31.0, 35.0),
            ("0000:43:00.0", 0, MI100, 34342961152, 6782976, 33.0, 39.0),
            ("0000:46:00.0", 0, MI100, 34342961152, 6782976, 32.0, 39.0),
            ("0000:49:00.0", 0, MI100, 34342961152, 6782976, 33.0, 40.0),
        ],
    ),
    "rocm-smi_mi100_rocm602": (
        "6.3.6",
        [
            ("0000:83:00.0", 0x79CCD55167A2124A, MI100, 34342961152, 6750208, 53.0, 36.0),
            ("0000:a3:00.0", 0x4EDFB117A17A07D, MI100, 34342961152, 6750208, 55.0, 44.0),
            ("0000:c3:00.0", 0xD4A9EC48D03D261D, MI100, 34342961152, 6750208, 54.0, 43.0),
            ("0000:e3:00.0", 0x1B9DD972253C3736, MI100, 34342961152, 6750208, 51.0, 39.0),
        ],
    ),
    # That release's list of names was older than the card.
    "rocm-smi_rx6700xt_rocm430": ("6.3.6", [("0000:07:00.0", 0, "", 12868124672, 1622728704, 45.0, 6.0)]),
    "rocm-smi_rx6700xt_rocm571": ("6.3.6", [("0000:07:00.0", 0, NAVI22, 12868124672, 1564491776, 45.0, 6.0)]),
    # "N/A (Secondary die)".
    "rocm-smi_rx6700xt_rocm602": ("6.3.6", [("0000:07:00.0", 0, NAVI22, 12868124672, 1572757504, 45.0, None)]),
    "rocm-smi_vega-10-XT": ("5.9.25", [("0000:04:00.0", 0x2150E7D042A1124, "", 17163091968, 17776640, 39.0, 15.0)]),
    "rocm-smi_vega-20-WKS-GL-XE": (
        "5.9.17",
        [("0000:63:00.0", 0x2F048617326B1EA, "Radeon Instinct MI50 32GB", 34342961152, 10850304, 36.0, 26.0)],
    ),
}


@pytest.mark.parametrize("name", sorted(TABLES))
def test_recorded_rocm_smi_is_read_whole(name: str) -> None:
    """
    Every card of every release stands in its records; a name that is a number is none, and N/A is unknown.
    """
    driver, rows = TABLES[name]
    expected = [
        (
            Card(
                index=index,
                pci_address=address,
                unique_id=unique_id,
                name=called,
                total_bytes=total,
                driver_version=driver,
            ),
            Reading(
                used_bytes=used,
                total_bytes=total,
                utilization_percent=0.0,
                temperature_celsius=celsius,
                power_watts=watts,
            ),
        )
        for index, (address, unique_id, called, total, used, celsius, watts) in enumerate(rows)
    ]

    assert expected == commands.from_rocm_smi(recorded(name))


def test_a_card_without_an_address() -> None:
    """
    What was printed without `--showbus` has figures, and nothing to call the card by.
    """
    ((card, reading),) = commands.from_rocm_smi(recorded("rocm-smi_rx7800xt_rocm6.2.4"))

    assert ("", 0x5C88007D760374F3, "Navi 32 [Radeon RX 7700 XT / 7800 XT]", 17163091968) == (
        card.pci_address,
        card.unique_id,
        card.name,
        card.total_bytes,
    )
    assert (11615076352, 100.0, 45.0, 53.0) == (
        reading.used_bytes,
        reading.utilization_percent,
        reading.temperature_celsius,
        reading.power_watts,
    )


def test_warnings_come_before_the_json() -> None:
    """
    A card that sleeps is warned of in front of the JSON.
    """
    warned = "WARNING: AMD GPU device(s) is/are in a low-power state.\n\n" + recorded("rocm-smi_vega-10-XT")

    assert commands.from_rocm_smi(recorded("rocm-smi_vega-10-XT")) == commands.from_rocm_smi(warned)


def test_recorded_amd_smi_is_read() -> None:
    """
    ROCm 7 wraps its rows, ROCm 6 does not; megabytes are 2**20 bytes.
    """
    metric = recorded("amd-smi_metric_rx7800xt")
    static = json.dumps([{"gpu": 0, "asic": {"market_name": "AMD Radeon RX 7800 XT"}, "bus": {"bdf": "0000:03:00.0"}}])

    ((card, reading),) = commands.from_amd_smi(static, metric)

    assert Card(index=0, pci_address="0000:03:00.0", name="AMD Radeon RX 7800 XT", total_bytes=16368 * MIB) == card
    assert (
        Reading(used_bytes=14569 * MIB, total_bytes=16368 * MIB, utilization_percent=2.0, temperature_celsius=45.0)
        == reading
    )
    assert [("AMD Instinct MI350X", None)] == [
        (each.name, each.total_bytes) for each, _ in commands.from_amd_smi(recorded("amd-smi_static_mi350x"), "no JSON")
    ]


@pytest.mark.promise("P9")
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["N/A", "0x12", "45.0"]),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "card0",
                        "system",
                        "gpu_data",
                        "gpu",
                        "asic",
                        "bus",
                        "bdf",
                        "mem_usage",
                        "total_vram",
                        "value",
                        "unit",
                    ]
                ),
                inner,
            )
        ),
        max_leaves=20,
    )
)
def test_whatever_json_is_printed_is_read_or_left(table: object) -> None:
    """
    JSON of any shape gives cards or none, and never raises.
    """
    printed = json.dumps(table)
    found = [*commands.from_rocm_smi(printed), *commands.from_amd_smi(printed, printed)]

    for card, reading in found:
        rocm.sample(reading)
        assert size(card.total_bytes) is None or card.total_bytes
