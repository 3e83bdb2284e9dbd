"""Names of rows in their order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from motorpool_controller.store.order import Order

NAMES = st.text("abc", max_size=3)


@given(st.lists(st.tuples(NAMES, st.booleans(), st.booleans())))
def test_names_follow_the_rows(steps: list[tuple[str, bool, bool]]) -> None:
    """
    Whatever comes and goes, and whenever somebody asks: the names are those of the rows, in order, each once.
    """
    rows = {"b": 1}
    order = Order(rows)
    for name, comes, asked in steps:
        if comes:
            rows[name] = 1
        else:
            rows.pop(name, None)
        order.touch([name])
        if asked:
            assert sorted(rows) == order.names

    assert sorted(rows) == order.names


def test_names_that_were_returned_stay() -> None:
    """
    Who reads a page of them is not told other ones meanwhile.
    """
    rows = {"a": 1}
    order = Order(rows)
    before = order.names
    rows["b"] = 1
    order.touch(["b"])

    assert (["a", "b"], ["a"]) == (order.names, before)
