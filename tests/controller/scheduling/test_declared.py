"""Declared backends among the filters and selectors."""

from dataclasses import replace
from typing import Any

import pytest

from motorpool_controller.domain.backends import declared_profiles
from motorpool_controller.domain.placement import Refusal
from motorpool_controller.domain.sizes import GIB
from motorpool_controller.scheduling.columns import Columns
from motorpool_controller.scheduling.scheduler import Verdict, explain
from motorpool_controller.scheduling.snapshot import Reading, Snapshot
from tests.controller.declared import RUNNER, RUNNER_PROFILE, backend, runner, version
from tests.controller.fleets import DIGEST, PATH, device, node, profile, request, snapshot

UNREADABLE = Reading(error_reason="MODEL_FORMAT_UNKNOWN", error_message="its format is not known")


def fleet(*nodes: Any, reading: Reading = UNREADABLE, declared: Any = None) -> Snapshot:
    nodes = nodes or (runner(),)
    made = declared or backend()
    return replace(
        snapshot(*nodes),
        profiles={DIGEST: profile(), RUNNER: RUNNER_PROFILE},
        readings={(each.name, PATH): reading for each in nodes},
        declared=declared_profiles({made.name: made}),
    )


def verdict(of: Snapshot, **spec: Any) -> Verdict:
    return explain(of, request(**{"backend": "echo", "claim_memory_bytes": GIB, **spec}))


def only(found: Verdict) -> Refusal:
    assert None is found.placement
    [row] = found.refusals
    return row


def test_a_declared_backend_is_placed_by_its_claim() -> None:
    """
    A model of unknown format is no obstacle where something is claimed for it.
    """
    found = verdict(fleet())

    assert found.placement is not None
    assert ("echo", "1.0", "cpu") == (
        found.placement.backend,
        found.placement.backend_version,
        found.placement.framework,
    )
    assert GIB == found.placement.members[0].claim.memory_bytes


def test_what_has_its_place_and_no_device_beside_it_was_refused_nothing() -> None:
    """
    Host memory alone was asked for, and there is enough: no row says that something is missing.
    """
    found = verdict(fleet())

    assert found.placement is not None
    assert () == found.refusals


def test_an_alias_means_the_same() -> None:
    """
    The placement has the name, whatever was said.
    """
    found = verdict(fleet(), backend="Parrot")

    assert found.placement is not None
    assert "echo" == found.placement.backend


def test_a_missing_claim_is_told_with_how_to_give_it() -> None:
    """
    Where the model says nothing of its needs, somebody has to.
    """
    row = only(verdict(fleet(), claim_memory_bytes=None))

    assert ("facts", "CLAIM_MISSING") == (row.stage, row.reason)
    assert "--memory 2GiB" in row.message
    assert "--device-memory 8GiB" in row.message
    assert "its format is not known" in row.message


def test_a_model_whose_headers_say_it_needs_no_claim() -> None:
    """
    The rule for backends of which nothing is known estimates it (B10).
    """
    readable = snapshot(runner()).readings["nodes/a", PATH]

    assert verdict(fleet(reading=readable), claim_memory_bytes=None).placement is not None


def test_claimed_device_memory_means_a_device() -> None:
    """
    It goes where a device has that much.
    """
    declared = backend(versions=(version(frameworks=("cpu", "cuda")),))
    found = verdict(
        fleet(runner("a"), runner("b", devices=[device()]), declared=declared),
        claim_memory_bytes=None,
        claim_device_memory_bytes=8 * GIB,
    )

    assert found.placement is not None
    [member] = found.placement.members
    assert ("nodes/b", "cuda") == (member.node, found.placement.framework)
    assert [("GPU-0", 8 * GIB)] == [(claim.device_id, claim.memory_bytes) for claim in member.claim.devices]


def test_what_was_found_out_before_a_declaration_is_not_kept() -> None:
    """
    The fleet's columns outlive decisions; what a spec means does not outlive the declaration it meant.
    """
    before = replace(fleet(), declared={})
    after = fleet()
    columns = Columns.of(before)
    wanted = request(backend="echo", claim_memory_bytes=GIB)
    missing = explain(before, wanted, columns)
    columns.follow(after)
    found = explain(after, wanted, columns)
    columns.follow(before)

    assert None is missing.placement
    assert found.placement is not None
    assert None is explain(before, wanted, columns).placement


def test_nodes_without_the_plugin_are_told() -> None:
    """
    The row names what to install, and calls the backend by its name.
    """
    row = only(verdict(fleet(node())))

    assert ("backend", "BACKEND_MISSING") == (row.stage, row.reason)
    assert "motorpool-custom" in row.message
    assert "echo" in row.message


def test_the_plugin_is_no_backend_to_deploy() -> None:
    """
    Nobody can name what runs declared backends as if it were one of them.
    """
    row = only(verdict(fleet(), backend="custom"))

    assert "BACKEND_MISSING" == row.reason
    assert "(it offers llama_cpp)" in row.message


def test_what_is_declared_wins_over_what_a_node_reports() -> None:
    """
    One name means the same on every node, whatever plugin comes later.
    """
    declared = backend("llama_cpp", aliases=(), versions=(version(version="mine"),))

    found = verdict(fleet(declared=declared), backend="llama_cpp")

    assert found.placement is not None
    assert "mine" == found.placement.backend_version


@pytest.mark.parametrize(
    ("reason", "formats", "passes"),
    [
        ("MODEL_FORMAT_UNKNOWN", (), True),
        ("MODEL_FORMAT_UNKNOWN", ("pickle",), True),
        ("MODEL_CORRUPT", (), True),
        ("MODEL_INCOMPLETE", (), True),
        ("MODEL_CORRUPT", ("gguf",), False),
        ("MODEL_NOT_FOUND", (), False),
        ("MODEL_UNREADABLE", (), False),
    ],
)
def test_a_backend_of_any_format_takes_any_file(reason: str, formats: tuple[str, ...], passes: bool) -> None:
    """
    It must be there; what is in it is the backend's own business, unless it says which formats it reads.
    """
    found = verdict(fleet(reading=Reading(error_reason=reason, error_message="x"), declared=backend(formats=formats)))

    assert passes == (found.placement is not None)


def test_a_version_for_another_platform_is_told() -> None:
    """
    Platforms count as they do for backends that plugins report.
    """
    row = only(verdict(fleet(declared=backend(versions=(version(architectures=("arm64",)),)))))

    assert "PLATFORM_UNSUPPORTED" == row.reason
