"""The vLLM that is installed on this node, where one is, and what it was built for."""

from __future__ import annotations

import os
from collections.abc import Mapping

from motorpool_sdk.environments import Installed, find_installed

SETTING = "MOTORPOOL_VLLM"
CPU = "cpu"
PLATFORMS = {"vllm-ascend": "cann", "vllm-metax": "maca", "vllm-musa": "musa"}
"""Distributions that bring a vendor's platform to vLLM, by entry point ``vllm.platform_plugins``: what they run on."""


def find(env: Mapping[str, str] = os.environ) -> Installed | None:
    """Return the vLLM that MOTORPOOL_VLLM names, else the one on PATH, else None; raise as the SDK's does."""
    return find_installed("vllm", package="vllm", setting=SETTING, beside=tuple(PLATFORMS), env=env)
