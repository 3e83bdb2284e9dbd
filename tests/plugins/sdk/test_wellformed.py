from __future__ import annotations

import pytest

from motorpool_sdk import MemoryModel, Profile, Version
from motorpool_sdk.manifest import Kind, Manifest
from motorpool_sdk.wellformed import profile_faults

MANIFEST = Manifest(kind=Kind.BACKEND, api=">=0.1", provides="acme", module="acme")


@pytest.mark.parametrize(
    ("least", "faults"),
    [
        ({"cuda": "12.8"}, 0),
        ({}, 0),
        ({"rocm": "6.3"}, 1),
        ({"cuda": "new"}, 1),
        ({"cuda": ""}, 1),
    ],
)
def test_a_least_runtime_is_a_number_of_a_framework_of_the_version(least: dict[str, str], faults: int) -> None:
    """
    What a version needs of a runtime names one of its frameworks, and can be compared.
    """
    profile = Profile(
        backend="acme",
        versions=(Version(version="1", frameworks=("cuda",), least_runtimes=least),),
        memory_model=MemoryModel.FIXED,
        rules="fixed",
        formats=("gguf",),
        categories=("llm",),
        health_path="/health",
    )

    found = profile_faults(profile, MANIFEST)

    assert len(found) == faults, found
    assert all("version 1 needs" in fault for fault in found)
