"""The vLLM that is installed on this node, where one is, and what it was built for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from motorpool_sdk.environments import Installed, find_installed
from motorpool_vllm.ray import PACKAGE, PROGRAM

SETTING = "MOTORPOOL_VLLM"
CPU = "cpu"
PLATFORMS = {"vllm-ascend": "cann", "vllm-metax": "maca", "vllm-musa": "musa"}
"""Distributions that bring a vendor's platform to vLLM, by entry point ``vllm.platform_plugins``: what they run on."""


def find(env: Mapping[str, str] = os.environ) -> Installed | None:
    """Return the vLLM that MOTORPOOL_VLLM names, else the one on PATH, else None; raise as the SDK's does."""
    return find_installed("vllm", package="vllm", setting=SETTING, beside=(*PLATFORMS, PACKAGE), env=env)


def parts(found: Installed) -> Mapping[str, str]:
    """Return what members over several nodes are compared by: its Python, and its Ray where that can be started."""
    told = {"python": found.python}
    programs = (Path(found.path).with_name(name) for name in ("python", PROGRAM))
    if PACKAGE in found.versions and all(os.access(each, os.X_OK) for each in programs):
        told[PACKAGE] = found.versions[PACKAGE]
    return told
