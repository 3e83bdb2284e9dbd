from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.domain.names import check_deployment_id, check_node_id, device_of, resource_id


@pytest.mark.parametrize("name", ["a", "chat", "chat-2", "7b", "a" * 48])
def test_names_of_lower_case_letters_digits_and_dashes_are_fine(name: str) -> None:
    """
    A deployment may be called so.
    """
    assert check_deployment_id(name) == name


@pytest.mark.parametrize("name", ["", "Chat", "a_b", "-a", "a-", "a b", "a" * 49, "ä", "a\n", "../x"])
def test_other_names_are_refused_with_the_rule(name: str) -> None:
    """
    A name that may not be says which field, and what to write.
    """
    with pytest.raises(InvalidError) as caught:
        check_deployment_id(name)

    assert caught.value.metadata == {"field": "deployment_id"}
    assert "\n" not in caught.value.message


def test_nodes_have_names_of_dns_length() -> None:
    """
    A node's name may have 63 characters, and not 64.
    """
    assert check_node_id("n" * 63) == "n" * 63
    with pytest.raises(InvalidError, match="at most 63"):
        check_node_id("n" * 64)


@given(st.text(max_size=40))
def test_a_full_name_gives_its_id_or_an_error(name: str) -> None:
    """
    Only COLLECTION/ID has an id.
    """
    try:
        identifier = resource_id(name, "nodes")
    except InvalidError:
        return
    assert name == f"nodes/{identifier}"


def test_a_device_is_named_with_its_node() -> None:
    """
    A device's id may have colons and slashes of its own; its node is a plain label.
    """
    assert device_of("nodes/a/devices/nvidia:0") == ("nodes/a", "nvidia:0")
    for name in ("nodes/a", "nodes/A/devices/0", "a/devices/0", "nodes/a/devices/"):
        with pytest.raises(InvalidError):
            device_of(name)
