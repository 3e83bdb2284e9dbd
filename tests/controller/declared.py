"""A declared backend, and nodes that run such, for tests of what decides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from motorpool_controller.domain.declarations import Declaration, DeclaredBackend, DeclaredVersion
from motorpool_controller.domain.fleet import MemoryModel, Node, Profile
from motorpool_controller.domain.sizes import GIB
from tests.controller.fleets import DIGEST, NOW, node

RUNNER = "sha256:runner"
RUNNER_PROFILE = Profile(
    backend="custom", versions=(), memory_model=MemoryModel.FIXED, rules="fixed", runs_declared=True
)


def version(**changes: Any) -> DeclaredVersion:
    plain = DeclaredVersion(version="1.0", command=("/opt/echo", "--model", "{{model_path}}", "--port", "{{port}}"))
    return replace(plain, **changes)


def declaration(**changes: Any) -> Declaration:
    plain = Declaration(versions=(version(),), aliases=("parrot",), health_path="/health", claim_memory_bytes=GIB)
    return replace(plain, **changes)


def backend(name: str = "echo", **changes: Any) -> DeclaredBackend:
    made = declaration(**changes)
    return DeclaredBackend(name=f"backends/{name}", declaration=made, create_time=NOW, update_time=NOW)


def runner(name: str = "a", **changes: Any) -> Node:
    """Return a node with the plugin that runs declared backends."""
    return node(name, profiles={"custom": RUNNER, "llama_cpp": DIGEST}, **changes)
