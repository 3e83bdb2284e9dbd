import asyncio
import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.services.pages import (
    MAX_SIZE,
    TURN_ROWS,
    Position,
    _check,
    in_turns,
    page,
    page_of,
    page_size,
    resume_position,
    resume_token,
)

NAMES = st.lists(st.text(min_size=1), unique=True, max_size=30)


def walk(names: list[str], size: int, *, descending: bool = False) -> list[list[str]]:
    pages, token = [], ""
    while True:
        rows, token = page(names, key=str, scope=("x",), size=size, token=token, descending=descending)
        pages.append(rows)
        if not token:
            return pages


@given(NAMES, st.integers(1, 40), st.booleans())
def test_pages_hold_every_row_once(names: list[str], size: int, descending: bool) -> None:
    """
    Page after page gives every row once, in order, each page full but the last.
    """
    pages = walk(names, size, descending=descending)

    assert sorted(names, reverse=descending) == [name for rows in pages for name in rows]
    assert all(len(rows) == size for rows in pages[:-1])


@given(NAMES, st.integers(1, 40))
def test_ordered_names_give_the_same_pages(names: list[str], size: int) -> None:
    """
    Where the order is known already, pages and tokens are those of rows that are sorted for each page.
    """
    rows, token = {name: name for name in names}, ""
    while True:
        expected = page(names, key=str, scope=("x",), size=size, token=token)

        assert expected == page_of(rows, sorted(names), scope=("x",), size=size, token=token)
        token = expected[1]
        if not token:
            return


async def test_others_have_their_turn_within_a_long_page() -> None:
    """
    What else is ready runs after every few rows, not after all of them.
    """
    told: list[int] = []
    loop = asyncio.get_running_loop()
    async for row in in_turns(range(2 * TURN_ROWS)):
        if row == 0:
            loop.call_soon(told.append, -1)
        told.append(row)

    assert [*range(TURN_ROWS), -1, *range(TURN_ROWS, 2 * TURN_ROWS)] == told


@given(NAMES.filter(bool), st.text(min_size=1))
def test_rows_that_come_and_go_move_no_other(names: list[str], new: str) -> None:
    """
    Rows of the second page are the same, whatever happens to those of the first.
    """
    ordered = sorted(names)
    first, token = page(ordered, key=str, scope=("x",), size=1, token="")
    if not token:
        return
    rest, _ = page(ordered, key=str, scope=("x",), size=1_000, token=token)

    changed = [name for name in ordered if name not in first] + ([new] if new < first[0] else [])

    assert rest == page(changed, key=str, scope=("x",), size=1_000, token=token)[0]


@given(st.one_of(st.text(min_size=1), st.binary(min_size=1).map(lambda raw: base64.urlsafe_b64encode(raw).decode())))
@pytest.mark.promise("P9")
def test_garbage_is_no_token(token: str) -> None:
    """
    Anything that was not given as a page token is PAGE_TOKEN_INVALID.
    """
    with pytest.raises(InvalidError) as failed:
        page(["a"], key=str, scope=("x",), size=1, token=token)

    assert "PAGE_TOKEN_INVALID" == failed.value.reason


def test_token_of_another_list() -> None:
    """
    A token belongs to its list and filters.
    """
    _, token = page(["a", "b"], key=str, scope=("x", "filter"), size=1, token="")

    with pytest.raises(InvalidError):
        page(["a", "b"], key=str, scope=("x", "other"), size=1, token=token)


def test_sizes() -> None:
    """
    No size means a hundred, the most is a thousand, and a negative one is refused.
    """
    assert (100, 7, MAX_SIZE) == (page_size(0), page_size(7), page_size(1_000_000))
    with pytest.raises(InvalidError):
        page_size(-1)


def test_resume_tokens() -> None:
    """
    A resume token gives its revision back, to its own cluster.
    """
    token = resume_token("cluster", 42)

    assert Position(42) == resume_position("cluster", token)
    assert Position(42, "nodes nodes/a") == resume_position("cluster", resume_token("cluster", 42, "nodes nodes/a"))
    with pytest.raises(InvalidError):
        resume_position("another", token)


@pytest.mark.promise("P9")
@pytest.mark.parametrize("payload", [b"\xff", b"not a number", b"", b"1e9", "\N{SUPERSCRIPT TWO}".encode(), b"9" * 100])
def test_a_token_that_somebody_sealed_himself_is_no_fault_of_ours(payload: bytes) -> None:
    """
    Whoever reads how tokens are made may make one: what is in it is no text, or no revision, and it is refused.
    """
    scope = ("resume", "c-1")
    token = base64.urlsafe_b64encode(_check(payload, scope) + payload).decode()

    with pytest.raises(InvalidError) as caught:
        resume_position("c-1", token)

    assert "PAGE_TOKEN_INVALID" == caught.value.reason
