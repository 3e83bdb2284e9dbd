"""Versions of runtimes, as vendors' plugins report them, against those that a backend's version needs."""

from __future__ import annotations

import pytest

from motorpool_controller.domain.fleet import BackendVersion
from motorpool_controller.scheduling.runtimes import too_old
from tests.controller.fleets import device


@pytest.mark.parametrize(
    ("framework", "told", "enough", "too_much"),
    [
        ("cuda", "13.0", "12.8", "13.1"),
        ("rocm", "7.2.0", "7.2", "7.10"),
        ("cann", "8.2.RC1", "8.2", "8.5"),
        ("cann", "8.5.0", "8.5", "9.0"),
        ("dtk", "25.04.4", "25.04", "26.04"),
        ("dtk", "25.04.4", "25.4", "25.04.10"),
        ("maca", "3.3.0.15", "3.3.0.9", "3.7"),
        ("corex", "10.2", "10.2", "11.0"),
        ("neuware", "3.12.2", "3.9", "4"),
    ],
)
def test_every_vendors_form_is_compared_by_number(framework: str, told: str, enough: str, too_much: str) -> None:
    """
    B4.2: numbers are compared part by part, not as text; what follows them, as in 8.2.RC1, counts for nothing.
    """
    there = [device(framework=framework, runtime_version=told)]

    for least, fits in ((enough, True), (too_much, False)):
        version = BackendVersion(version="1", frameworks=(framework,), least_runtimes=((framework, least),))
        assert fits is not too_old(version, framework, there).endswith(f"have {told}")


def test_a_runtime_that_is_not_told_is_not_held_against_a_device() -> None:
    """
    MUSA's version is told by nobody: a version that needs one is tried, and an old card beside it is still found out.
    """
    version = BackendVersion(version="1", frameworks=("musa",), least_runtimes=(("musa", "4.1"),))
    unknown, old = (device(framework="musa", runtime_version=told) for told in ("", "3.1.0"))

    assert "" == too_old(version, "musa", [unknown])
    assert too_old(version, "musa", [unknown, old]).endswith("have 3.1.0")
