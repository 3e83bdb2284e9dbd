"""Placements in words."""

from motorpool import v1
from motorpool_cli.placements import decided, where

PAIR = v1.Placement(
    members=[
        v1.PlacementMember(node="nodes/a", claim=v1.Claim(memory_bytes=3 << 30)),
        v1.PlacementMember(node="nodes/b", claim=v1.Claim(memory_bytes=3 << 30), rank=1),
    ],
    style="mp",
    parallelism={"tp": 4, "pp": 2},
)


def test_several_nodes_are_told_with_how_they_work_together() -> None:
    """
    Each node with what it holds; the style and the sizes that the placement decided.
    """
    assert "a: host memory 3 GiB; b: host memory 3 GiB" == where(PAIR)
    assert "over 2 nodes by mp, tensor parallel 4, pipeline parallel 2" == decided(PAIR)


def test_what_was_not_decided_is_not_told() -> None:
    """
    One node without sizes has nothing to say of them.
    """
    assert "" == decided(v1.Placement(members=PAIR.members[:1]))
