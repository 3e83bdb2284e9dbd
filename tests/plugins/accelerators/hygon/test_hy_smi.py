"""What hy-smi printed on real machines, in full."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool_hygon import hy_smi
from motorpool_sdk.hardware import rocm
from motorpool_sdk.hardware.rocm import Card, Reading

HERE = Path(__file__).parent / "recordings"
MIB = 2**20
# Name; used MiB, load, edge's temperature, watts of 65520 MiB.
Row = tuple[str, int, float, float, float]
TABLES: dict[str, list[Row]] = {
    "hy-smi_k100ai": [("K100_AI", 2, 0.0, 37.0, 77.0), ("K100_AI", 2, 0.0, 38.0, 76.0)],
    "rocm-smi_dtk24.04.3": [("DCU xxxx", 2, 0.0, 41.0, 80.0)],
}


def recorded(name: str) -> str:
    return (HERE / f"{name}.json").read_text()


@pytest.mark.parametrize("name", sorted(TABLES))
def test_recorded_cards_are_read_whole(name: str) -> None:
    """
    Keys of HCU and DCU, and an empty one, are read alike; without `--showbus` there is no address.
    """
    assert [
        (
            Card(index=index, pci_address="", name=called, total_bytes=65520 * MIB),
            Reading(
                used_bytes=used * MIB,
                total_bytes=65520 * MIB,
                utilization_percent=percent,
                temperature_celsius=celsius,
                power_watts=watts,
            ),
        )
        for index, (called, used, percent, celsius, watts) in enumerate(TABLES[name])
    ] == hy_smi.cards(recorded(name))


def bw() -> str:
    """What one call for all of it prints on a BW node: the recorded parts, by card, and a warning before."""
    parts = [json.loads(recorded(f"hy-smi_bw_{part}")) for part in ("showbus", "showmeminfo_vram", "showproductname")]
    return "\nWARNING: low power\n" + json.dumps(
        {card: {key: value for part in parts for key, value in part[card].items()} for card in parts[0]}
    )


def test_an_address_ends_at_its_blank() -> None:
    """
    Newer releases print the serial number behind the address.
    """
    assert [
        (
            Card(index=0, pci_address="0000:09:00.0", name="BW", total_bytes=65520 * MIB),
            Reading(used_bytes=9703 * MIB, total_bytes=65520 * MIB),
        ),
        (
            Card(index=1, pci_address="0000:36:00.0", name="BW", total_bytes=65520 * MIB),
            Reading(used_bytes=9651 * MIB, total_bytes=65520 * MIB),
        ),
    ] == hy_smi.cards(bw())


def test_old_releases_print_bytes_and_begin_at_one() -> None:
    """
    `(B)` is bytes, and the first card is the first whatever it is called.
    """
    printed = {"card1": {"VRAM Total Memory (B)": "17163091968"}, "card10": {}, "card2": {}, "system": {}}

    found = hy_smi.cards(json.dumps(printed))

    assert [(0, 17163091968), (1, None), (2, None)] == [(card.index, card.total_bytes) for card, _ in found]


@pytest.mark.promise("P9")
@given(
    st.dictionaries(
        st.sampled_from(["card0", "card1", "cardx", "card99999", "system"]),
        st.dictionaries(
            st.sampled_from(
                ["PCI Bus", "Card Series", "vram Total Memory (MiB)", "vram Total Used Memory (MiB)", "HCU use (%)"]
            ),
            st.text() | st.sampled_from(["N/A", "1e999", "-5", "9" * 40, " --> SN"]) | st.none() | st.integers(),
        )
        | st.text(),
    )
)
def test_whatever_json_is_printed_is_read_or_left(table: object) -> None:
    """
    JSON of any shape gives cards or none, and never raises.
    """
    for card, reading in hy_smi.cards(f"noise {json.dumps(table)}"):
        rocm.sample(reading)
        assert "" == card.pci_address or ":" in card.pci_address
