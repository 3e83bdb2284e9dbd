"""Messages of rows that are kept as bytes."""

from __future__ import annotations

from dataclasses import replace

from motorpool import v1
from motorpool_controller.domain.fleet import Node
from motorpool_controller.services.convert.node import node_message
from motorpool_controller.services.rendered import ROWS_KEPT, Rendered
from tests.controller.fleets import device, node


class Counted:
    """Makes messages, and counts them."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, row: Node) -> v1.Node:
        self.made += 1
        return node_message(row)


def shown(rendered: Rendered[Node, v1.Node], row: Node) -> v1.Node:
    message = v1.Node()
    rendered.show(message, row)
    return message


def test_a_row_is_converted_once() -> None:
    """
    As long as a row stays the same object its message is made once, and what a caller does with it stays the caller's.
    """
    make = Counted()
    rendered = Rendered(make)
    row = node("a", devices=[device()])

    first = shown(rendered, row)
    first.name = "nodes/changed-by-its-caller"

    assert node_message(row) == shown(rendered, row)
    assert 1 == make.made


def test_a_row_that_changed_is_converted_again() -> None:
    """
    A row is never changed but replaced: another object of its name has another message.
    """
    rendered = Rendered(Counted())
    row = node("a")
    shown(rendered, row)
    other = replace(row, agent_version="9.9.9")

    assert "9.9.9" == shown(rendered, other).agent_version
    assert node_message(row) == shown(rendered, row)


def test_what_is_kept_is_bounded() -> None:
    """
    Of more rows than are kept all are forgotten, so that those that are gone do not stay for ever.
    """
    make = Counted()
    rendered = Rendered(make)
    row = node("a")
    shown(rendered, row)
    for number in range(ROWS_KEPT):
        shown(rendered, replace(row, name=f"nodes/other-{number}"))

    assert node_message(row) == shown(rendered, row)
    assert ROWS_KEPT + 2 == make.made
