"""What npu-smi printed on real machines, in full."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool_ascend import npu_smi, parsing
from motorpool_ascend.records import Chip, Memory
from motorpool_sdk import DeviceError, Health, Sample

HERE = Path(__file__).parent / "recordings"
MIB = 2**20


def recorded(name: str) -> str:
    return (HERE / f"{name}.txt").read_text()


def chip(card: int, address: str, name: str, release: str, memory: Memory, **more: int | None) -> Chip:
    numbers: dict[str, int | None] = {"chip_id": 0, "logic_id": None, "phy_id": None, **more}
    return Chip(card_id=card, name=name, pci_address=address, driver_version=release, memory=memory, **numbers)  # type: ignore[arg-type]


def hbm(used: int, total: int) -> Memory:
    return Memory(total_mebibytes=total, used_mebibytes=used, is_hbm=True)


def ddr(used: int, total: int) -> Memory:
    return Memory(total_mebibytes=total, used_mebibytes=used, is_hbm=False)


B3 = [
    (0, "0000:c1:00.0", 3318, 101.8, 43),
    (1, "0000:c2:00.0", 3314, 92.0, 39),
    (2, "0000:81:00.0", 3314, 102.0, 40),
    (3, "0000:82:00.0", 3314, 99.8, 40),
    (4, "0000:01:00.0", 3314, 98.6, 45),
    (5, "0000:02:00.0", 3314, 99.7, 44),
    (6, "0000:41:00.0", 3314, 103.8, 45),
    (7, "0000:42:00.0", 3315, 98.2, 44),
]
TABLES = {
    "info_910a_22.0.3": [chip(4, "0000:81:00.0", "910A", "22.0.3", ddr(861, 21534))],
    "info_910b2_24.1.0": [chip(0, "0000:c1:00.0", "910B2", "24.1.0", hbm(59891, 65536))],
    "info_910b3_24.1.rc1": [
        chip(number, address, "910B3", "24.1.rc1.b030", hbm(used, 65536)) for number, address, used, _, _ in B3
    ],
    "info_a3_24.1.rc3.7": [
        chip(0, "0000:9d:00.0", "Ascend910", "24.1.rc3.7", hbm(3397, 65536), phy_id=0),
        chip(0, "0000:9f:00.0", "Ascend910", "24.1.rc3.7", hbm(3186, 65536), chip_id=1, phy_id=1),
    ],
    "info_310p3_25.5.1": [
        chip(2944, "0000:0c:00.0", "310P3", "25.5.1", ddr(1255, 44278)),
        chip(2944, "0000:0c:00.0", "310P3", "25.5.1", ddr(1472, 43693), chip_id=1),
    ],
    "info_950pr_25.7.rc1.6": [chip(0, "0000:01:00.0", "Ascend950PR", "", hbm(5225, 131072))],
}
FIGURES: dict[str, list[tuple[int, int, int, float | None]]] = {
    "info_910a_22.0.3": [(861, 0, 43, None)],
    "info_910b2_24.1.0": [(59891, 0, 37, 99.6)],
    "info_910b3_24.1.rc1": [(used, 0, celsius, watts) for _, _, used, watts, celsius in B3],
    "info_a3_24.1.rc3.7": [(3397, 0, 36, 178.8), (3186, 0, 36, None)],
    "info_310p3_25.5.1": [(1255, 0, 45, None), (1472, 0, 47, None)],
    "info_950pr_25.7.rc1.6": [(5225, 0, 55, 201.2)],
}
ARCHITECTURES = {
    "info_910a_22.0.3": "910",
    "info_910b2_24.1.0": "910b",
    "info_910b3_24.1.rc1": "910b",
    "info_a3_24.1.rc3.7": "a3",
    "info_310p3_25.5.1": "310p",
    "info_950pr_25.7.rc1.6": "950",
}
every_recording = pytest.mark.parametrize("name", sorted(TABLES))


@every_recording
def test_a_recorded_table_is_read_whole(name: str) -> None:
    """
    Every chip of every release's table stands in its record, with nothing made up beside it.
    """
    assert TABLES[name] == npu_smi.chips(recorded(name))


@every_recording
def test_recorded_figures_are_measurements(name: str) -> None:
    """
    Used bytes, load, temperature and power are the table's; `-` and `NA` are unknown.
    """
    expected = [
        Sample(
            device_id="",
            used_bytes=used * MIB,
            utilization_ratio=percent / 100,
            temperature_celsius=float(celsius),
            power_watts=watts,
        )
        for used, percent, celsius, watts in FIGURES[name]
    ]

    assert expected == [parsing.sample(npu_smi.reading(row)) for row in npu_smi.rows(recorded(name))]


@every_recording
def test_a_chips_name_tells_its_variant(name: str) -> None:
    """
    Images of Ascend are built by variant, and each recorded chip has one.
    """
    assert {ARCHITECTURES[name]} == {device.architecture for device in parsing.devices(TABLES[name])}


def test_the_map_tells_logic_ids() -> None:
    """
    `npu-smi info -m` numbers chips as CANN does, and leaves out the boards' controllers.
    """
    table = "\n".join(
        f"| {card}     310P3  | OK  | NA   45   0     / 0 |\n| {chip}     0 | 0000:{card:02X}:00.0 | 0  1255 / 44278 |"
        for card in (1, 2, 4, 5)
        for chip in (0, 1)
    )
    head = recorded("info_310p3_25.5.1").split("| 2944")[0]

    found = npu_smi.chips(f"{head}{table}", recorded("map_310p"))

    assert [
        ((1, 0), 0),
        ((1, 1), 1),
        ((2, 0), 2),
        ((2, 1), 3),
        ((4, 0), 4),
        ((4, 1), 5),
        ((5, 0), 6),
        ((5, 1), 7),
    ] == [((each.card_id, each.chip_id), each.logic_id) for each in found if isinstance(each, Chip)]


def test_processes_are_their_chips() -> None:
    """
    The table of processes below the chips' tells who holds how much, by card and chip.
    """
    processes = "| 2944    1                 | 899293        | VLLMWorker_TP            | 1024                      |\n"
    printed = recorded("info_310p3_25.5.1").replace(
        "| No running processes found in NPU 2944                                                                 |\n",
        processes,
    )

    first, second = (npu_smi.reading(row) for row in npu_smi.rows(printed))

    assert () == first.processes
    assert [(899293, 1024 * MIB)] == [(each.pid, each.used_bytes) for each in second.processes]


@pytest.mark.parametrize(
    ("word", "health"),
    [
        ("Warning", Health.HEALTHY),
        ("Alarm", Health.UNHEALTHY),
        ("Critical", Health.UNHEALTHY),
        ("UNKNOWN", Health.UNKNOWN),
        ("异常", Health.UNKNOWN),
    ],
)
def test_words_of_health(word: str, health: Health) -> None:
    """
    What npu-smi calls a chip is health with a reason; a word nobody knows is no health.
    """
    found, reasons = parsing.verdict_of(word)

    assert (health, 1) == (found, len(reasons))


def test_half_a_row_is_a_card_that_cannot_be_read() -> None:
    """
    A table that is cut off within a card loses that card, and says which.
    """
    whole = recorded("info_910b3_24.1.rc1").splitlines()
    cut = "\n".join(whole[: whole.index(next(line for line in whole if line.startswith("| 2     910B3"))) + 1])

    *chips, error = npu_smi.chips(cut)

    assert [replace(each) for each in TABLES["info_910b3_24.1.rc1"][:2]] == chips
    assert isinstance(error, DeviceError)
    assert ("NPU 2 chip 0", True) == (error.device_id, "cut off" in error.message)


def test_a_second_line_without_a_first_is_no_row() -> None:
    """
    Headers of two tables that ran into one another, cut short, make no row of a line that continues none.
    """
    lines = recorded("info_310p3_25.5.1").splitlines()
    processes = next(line for line in lines if "Process id" in line)
    names = next(line for line in lines if "Name    " in line and "Health" in line)
    rule = next(line for line in lines if line.startswith("+="))
    row = next(line for line in lines if line.startswith("| 2944"))

    assert [] == npu_smi.rows("\n".join(line[:44] for line in (processes, names, rule, row, row)))


@pytest.mark.promise("P9")
@every_recording
@given(data=st.data())
def test_whatever_is_printed_is_read_or_left(name: str, data: st.DataObject) -> None:
    """
    Lines that are missing, doubled, shortened, in another order or of N/A only never raise, and make up no bytes.
    """
    lines = recorded(name).splitlines()
    kept = data.draw(st.lists(st.sampled_from(lines), max_size=len(lines) + 3))
    width = data.draw(st.integers(0, 120))
    masked = data.draw(st.booleans())
    printed = "\n".join(line[:width].replace("0", "N/A") if masked else line[:width] for line in kept)

    for row in npu_smi.rows(printed):
        sample = parsing.sample(npu_smi.reading(row))
        assert sample.used_bytes is None or sample.used_bytes >= 0
    parsing.devices([each for each in npu_smi.chips(printed, printed) if isinstance(each, Chip)])
