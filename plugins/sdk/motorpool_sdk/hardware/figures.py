"""Figures that can be: what a library tells beyond them is no answer."""

from __future__ import annotations

from collections.abc import Iterable

from motorpool_sdk.accelerator import Process, Sample

# No card has 16 TiB, runs above 200 °C or draws 10 kW.
_MOST_BYTES = 2**44
_MOST_CELSIUS = 200.0
_MOST_WATTS = 10_000.0
_MOST_PERCENT = 100.0


def size(total_bytes: int | None) -> int | None:
    """Return the bytes of a card's memory, None where they cannot be."""
    return total_bytes if total_bytes is not None and 0 < total_bytes <= _MOST_BYTES else None


def measurement(
    *,
    used_bytes: int | None = None,
    total_bytes: int | None = None,
    percent: float | None = None,
    celsius: float | None = None,
    watts: float | None = None,
    processes: Iterable[tuple[int, int | None]] = (),
) -> Sample:
    """Return a measurement of these figures, without those that cannot be; used is at most the total where it is told.

    Processes are pairs of pid and bytes; one of another PID namespace has the number 0, and is left out.
    """
    ratio = _within(percent, 0.0, _MOST_PERCENT)
    most = size(total_bytes) or _MOST_BYTES
    return Sample(
        device_id="",
        used_bytes=used_bytes if used_bytes is not None and 0 <= used_bytes <= most else None,
        utilization_ratio=None if ratio is None else ratio / 100,
        temperature_celsius=_within(celsius, -_MOST_CELSIUS, _MOST_CELSIUS),
        power_watts=_within(watts, 0.0, _MOST_WATTS),
        processes=tuple(Process(pid=pid, used_bytes=used) for pid, used in processes if pid > 0),
    )


def _within(value: float | None, least: float, most: float) -> float | None:
    return float(value) if value is not None and least <= value <= most else None
