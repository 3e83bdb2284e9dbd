"""nvidia-smi as it was recorded: the columns that are asked for, of all that it printed."""

from __future__ import annotations

import re
from pathlib import Path

from motorpool_nvidia.nvidia_smi import CARDS, ERRORS, PROCESSES
from motorpool_sdk.testing.vendor import Recorded, Written

RECORDINGS = Path(__file__).parent / "recordings"
_UNIT = re.compile(r" \[[^\]]*\]$")
_MASKED = "GPU-00000000-0000-0000-0000-000000000000"


def recording(name: str) -> str:
    """A file of the recordings."""
    (path,) = RECORDINGS.glob(f"{name}*")
    return path.read_text(encoding="utf-8")


def columns(printed: str, query: str) -> str:
    """Return of a recorded CSV the columns that a query asks for, in its order."""
    rows = [line.split(", ") for line in printed.splitlines() if line]
    names = [_UNIT.sub("", name) for name in rows[0]]
    places = [names.index(name) for name in query.partition("=")[2].split(",")]
    return "".join(", ".join(row[place] for place in places) + "\n" for row in rows)


def printed(machine: str) -> dict[str, str]:
    """What nvidia-smi printed on a machine for each question, by its arguments."""
    cards = recording(f"query-gpu_{machine}_")
    processes = recording("processes_h100_") if machine == "h100" else "gpu_uuid, pid, used_gpu_memory [MiB]\n"
    return {
        f"{CARDS} --format=csv": columns(cards, CARDS),
        f"{ERRORS} --format=csv": columns(cards, ERRORS),
        f"{PROCESSES} --format=csv": columns(processes, PROCESSES),
        "-L": recording(f"list_{machine}_"),
        "--version": recording("version_h100_"),
    }


def uuid(index: int) -> str:
    """The UUID of the n-th card, in place of the zeros that recordings have."""
    return f"GPU-{index:08d}-0000-0000-0000-000000000000"


def written(count: int) -> dict[str, str]:
    """What nvidia-smi prints of that many H100: the recording's row, again for each."""
    one = printed("h100")
    listing, errors = f"{CARDS} --format=csv", f"{ERRORS} --format=csv"
    rows = {key: one[key].splitlines(keepends=True) for key in (listing, errors)}
    changes = [
        {
            _MASKED: uuid(number),
            ", 0, NVIDIA": f", {number}, NVIDIA",
            "00000000:00:09.0": f"00000000:00:{0x09 + number:02X}.0",
            ", 19818 MiB": f", {19818 + number} MiB",
        }
        for number in range(count)
    ]
    return {
        **one,
        listing: rows[listing][0] + "".join(_instead(rows[listing][1], change) for change in changes),
        errors: rows[errors][0] + "".join(rows[errors][1].replace(_MASKED, uuid(number)) for number in range(count)),
    }


def _instead(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert old in text, f"{old!r} is not in {text!r}"
        text = text.replace(old, new)
    return text


RECORDED = Recorded(
    name="nvidia-smi",
    # Each recording is of a machine with one card; this is one of three like it.
    prints=written(3),
    device_ids=tuple(uuid(number) for number in range(3)),
    fewer=written(2),
    written=Written(cards=written, one=printed("h100"), device_id=uuid, used=19818, total=81559 - 479, unit=2**20),
)
