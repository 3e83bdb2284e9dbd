"""The rules, by the name that a backend's profile gives. No backend is known by name here."""

from __future__ import annotations

from collections.abc import Mapping

from motorpool_controller.scheduling.rules import fixed, generic_fraction, gguf, mindie, sglang, vllm
from motorpool_controller.scheduling.rules.wish import Rule

RULES: Mapping[str, Rule] = {
    "vllm": vllm.demand,
    "sglang": sglang.demand,
    "mindie": mindie.demand,
    "generic_fraction": generic_fraction.demand,
    "gguf": gguf.demand,
    "fixed": fixed.demand,
}
