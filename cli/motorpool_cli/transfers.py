"""How far a download is, in words: bytes, how fast, how long it will still take."""

from __future__ import annotations

from motorpool import v1
from motorpool_cli import text

_BAR = 24


def share(instance: v1.Instance) -> float | None:
    """Return how much of a download is there, 0 to 1; None where nobody counts."""
    if instance.state != v1.INSTANCE_STATE_DOWNLOADING or not instance.progress_total_bytes:
        return None
    return min(1.0, instance.progress_bytes / instance.progress_total_bytes)


def words(instance: v1.Instance) -> str:
    """Return how far an instance's download is, e.g. "1.2 GiB of 4.7 GiB (26%), 80 MiB/s, 44 s left"; else ""."""
    done = share(instance)
    if done is None:
        return ""
    told = f"{text.size(instance.progress_bytes)} of {text.size(instance.progress_total_bytes)} ({done:.0%})"
    speed = instance.progress_bytes_per_second
    if speed:
        left = (instance.progress_total_bytes - instance.progress_bytes) / speed
        told += f", {text.size(speed)}/s, {_length(left)} left"
    return told


def bar(instance: v1.Instance) -> str:
    """Return a download's bar; empty where nobody counts."""
    done = share(instance)
    return "" if done is None else f"[{'#' * round(done * _BAR):-<{_BAR}}] "


def _length(seconds: float) -> str:
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 5400 else f"{whole // 3600} h {whole % 3600 // 60} min"
