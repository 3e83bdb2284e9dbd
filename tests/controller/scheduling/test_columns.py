"""The fleet as columns: what is kept up change by change."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from motorpool_controller.domain.fleet import Node
from motorpool_controller.scheduling.columns import Columns
from motorpool_controller.scheduling.snapshot import Reading
from tests.controller.fleets import PATH, SMOLLM2, node, snapshot

LABELS = st.dictionaries(st.sampled_from("kl"), st.sampled_from("vw"), min_size=1, max_size=2)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.one_of(st.none(), st.just({}), LABELS)), max_size=12), LABELS)
def test_nodes_are_found_by_their_labels(
    steps: list[tuple[str, dict[str, str] | None]], wanted: dict[str, str]
) -> None:
    """
    Through any history of nodes and labels, those are found that have all that is wanted.
    """
    columns, fleet = Columns(), dict[str, Node]()
    for name, labels in steps:
        fleet.pop(name, None)
        if labels is not None:
            fleet[name] = node(name, agent_labels=labels)
        columns.follow(snapshot(*fleet.values()))

    found = {columns.name_at(slot) for slot in columns.labelled(wanted).tolist()}

    assert {each.name for each in fleet.values() if wanted.items() <= each.labels.items()} == found


@given(st.permutations("abcd"), st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["", "GONE", "LOCKED"])))
def test_each_answer_stands_under_the_first_node_that_gave_it(order: list[str], given_by: dict[str, str]) -> None:
    """
    Distinct answers about a path are named by the first node by name, in whichever order the nodes came.
    """
    answers = {
        (f"nodes/{name}", PATH): Reading(error_reason=error) if error else Reading(facts=SMOLLM2)
        for name, error in given_by.items()
    }
    columns = Columns.of(snapshot(*(node(name) for name in order), readings=answers))
    first = {answers.get((f"nodes/{name}", PATH), Reading()): f"nodes/{name}" for name in "dcba"}

    assert {name: reading for reading, name in first.items()} == columns.answers(PATH)
    assert [f"nodes/{name}" for name in "abcd"] == [columns.name_at(slot) for slot in np.argsort(columns.rank[:4])]
