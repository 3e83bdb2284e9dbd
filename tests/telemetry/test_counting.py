from motorpool_telemetry.counting import OTHER, Counter, Histogram


def test_counter_counts_by_its_labels() -> None:
    """
    Sums stand by the labels' values; one without labels is there from the first.
    """
    calls, all_of_them = Counter("calls", "", "method", "code"), Counter("all", "")
    calls.add("a", "OK")
    calls.add("a", "OK", by=2)
    calls.add("b", "OK")

    assert {("a", "OK"): 3.0, ("b", "OK"): 1.0} == calls.sums()
    assert {(): 0.0} == all_of_them.sums()


def test_counter_has_no_more_series_than_it_may() -> None:
    """
    What comes after as many as it may have counts as other; those that were there go on by themselves.
    """
    reasons = Counter("reasons", "", "reason", most=2)
    for reason in ("a", "b", "c", "d", "a"):
        reasons.add(reason)

    assert {("a",): 2.0, ("b",): 1.0, (OTHER,): 2.0} == reasons.sums()


def test_histogram_puts_each_into_its_bucket() -> None:
    """
    What takes just a bucket's bound is in it; the last counts what took longer than all, and the sum is of all.
    """
    seconds = Histogram("seconds", "", buckets=(0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 2.0):
        seconds.observe(value)

    assert {(): (2.0, 1.0, 1.0, 2.65)} == seconds.rows()


def test_histogram_has_no_more_series_than_it_may() -> None:
    """
    As a counter.
    """
    seconds = Histogram("seconds", "", "method", buckets=(1.0,), most=1)
    for method in ("a", "b", "c"):
        seconds.observe(0.5, method)

    assert {("a",): (1.0, 0.0, 0.5), (OTHER,): (2.0, 0.0, 1.0)} == seconds.rows()
