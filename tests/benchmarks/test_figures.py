from benchmarks.figures import Figure, median, percentile_95, plot


def test_verdicts() -> None:
    """
    An aim is a limit, upper or lower, that may just be reached; a figure without one has no verdict.
    """
    assert "≤ 50: met" == Figure(key="k", value=50, meaning="m", aim=50).verdict
    assert "≤ 50: **missed**" == Figure(key="k", value=50.1, meaning="m", aim=50).verdict
    assert "≥ 300: met" == Figure(key="k", value=300, meaning="m", least=300).verdict
    assert "≥ 300: **missed**" == Figure(key="k", value=299, meaning="m", least=300).verdict
    assert not Figure(key="k", value=1, meaning="m").verdict


def test_median_and_percentile() -> None:
    """
    Of a hundred values, five are above the p95.
    """
    values = [float(value) for value in range(100, 0, -1)]

    assert 50.5 == median(values)
    assert 96 == percentile_95(values)
    assert 7 == percentile_95([7])


def test_bars_are_drawn_to_one_scale() -> None:
    """
    Figures with a bar are drawn below the table, the largest across; without any there is no plot.
    """
    drawn = [
        Figure(key="long_us", value=50, meaning="m", bar="µs"),
        Figure(key="short_us", value=5, meaning="m", bar="µs"),
        Figure(key="plain", value=1, meaning="m"),
    ]

    assert f"\n```text\nlong_us   {'█' * 50} 50 µs\nshort_us  █████ 5 µs\n```\n" == plot(drawn)
    assert "" == plot(drawn[2:])
