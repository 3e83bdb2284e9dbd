from __future__ import annotations

from motorpool import v1
from motorpool_cli import estimates
from tests.cli.fleet import GIB


def test_an_itemised_sum_names_its_parts() -> None:
    """
    The second sum is told in all and part by part, and not at all where there is none.
    """
    parts = [v1.EstimateItem(name="weights", size_bytes=2 * GIB), v1.EstimateItem(name="framework", size_bytes=GIB)]

    assert "3 GiB (weights 2 GiB, framework 1 GiB)" == estimates.items(v1.Estimate(items=parts))
    assert "" == estimates.items(v1.Estimate())


def test_a_measurement_is_told_beside_the_formula() -> None:
    """
    What was measured, and how far the formula was off, to either side.
    """
    over = v1.Estimate(measured_bytes=3 * GIB, measured_difference_bytes=GIB)
    under = v1.Estimate(measured_bytes=3 * GIB, measured_difference_bytes=-GIB)

    assert "3 GiB at the most, 1 GiB over the formula" == estimates.measured(over)
    assert "3 GiB at the most, 1 GiB under the formula" == estimates.measured(under)
    assert "" == estimates.measured(v1.Estimate(upper_bytes=GIB))
