from __future__ import annotations

import pytest

from motorpool_sdk import (
    DistributedStyle,
    InferenceProbe,
    Launch,
    MemoryModel,
    PortRange,
    Probe,
    Profile,
    Version,
)
from motorpool_sdk.manifest import Kind, Manifest
from motorpool_sdk.wellformed import launch_faults, profile_faults

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


@pytest.mark.parametrize(
    ("styles", "word"),
    [
        ((DistributedStyle(style="mp", leader_ports=(PortRange("master"), PortRange("engine", 8))),), ""),
        ((DistributedStyle(style="MP"),), "lower-case"),
        ((DistributedStyle(style="mp"), DistributedStyle(style="mp")), "2 times"),
        ((DistributedStyle(style="mp", leader_ports=(PortRange("http"),)),), "'http' 2 times"),
        ((DistributedStyle(style="mp", follower_ports=(PortRange("rpc", 0),)),), "wants 0 ports"),
        ((DistributedStyle(style="mp", follower_ports=(PortRange("r p c"),)),), "names a port"),
    ],
)
def test_a_style_names_each_port_once(styles: tuple[DistributedStyle, ...], word: str) -> None:
    """
    Styles and their ports have plain names, none twice, and none takes that of the port that everybody has.
    """
    profile = Profile(
        backend="acme",
        versions=(Version(version="1"),),
        memory_model=MemoryModel.FIXED,
        rules="fixed",
        formats=("gguf",),
        categories=("llm",),
        distributed_styles=styles,
    )

    found = profile_faults(profile, MANIFEST)

    assert bool(word) == bool(found), found
    assert all(word in fault for fault in found)


@pytest.mark.parametrize(
    ("launch", "word"),
    [
        (Launch(argv=("acme",), inference=InferenceProbe(path="/v1/completions", body='{"max_tokens": 1}')), ""),
        (Launch(argv=("acme",), serves=False), ""),
        (Launch(argv=("acme",), serves=False, readiness=Probe(path="/health")), "serves nothing"),
        (Launch(argv=("acme",), inference=InferenceProbe(path="v1", body="{}")), "inference.path"),
        (Launch(argv=("acme",), inference=InferenceProbe(path="/v1", body="{")), "not JSON"),
    ],
)
def test_a_launch_that_serves_nothing_is_asked_nothing(launch: Launch, word: str) -> None:
    """
    Only what serves has probes, and what they send can be sent.
    """
    found = launch_faults(launch, MANIFEST)

    assert bool(word) == bool(found), found
    assert all(word in fault for fault in found)
