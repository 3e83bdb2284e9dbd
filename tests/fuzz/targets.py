"""What is fuzzed: each target takes any bytes, and raises where one of ours should have answered with an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

_HEADERS = ("motorpool_formats",)
_TEXTS = (
    *("motorpool_agent.config", "motorpool_agent.policy", "motorpool_cli.declarations", "motorpool_cli.documents"),
    *("motorpool_cli.manifests", "motorpool_controller.config", "motorpool_controller.domain.parameters"),
    *("motorpool_controller.services.backups", "motorpool_controller.services.pages", "motorpool_sdk.manifest"),
)
_CALLS = ("motorpool_controller.services", "motorpool_controller.domain")
_SESSION = ("motorpool_agent.session", "motorpool_agent.convert")

TARGETS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "backup": ("texts", _TEXTS),
    "config": ("headers", _HEADERS),
    "gguf": ("headers", _HEADERS),
    "parameters": ("texts", _TEXTS),
    "requests": ("calls", _CALLS),
    "safetensors": ("headers", _HEADERS),
    "session_down": ("calls", _SESSION),
    "session_up": ("calls", _CALLS),
    "tokens": ("texts", _TEXTS),
    "toml": ("texts", _TEXTS),
    "yaml": ("texts", _TEXTS),
}
"""By name, the file that has the function of that name, and what of ours it is to reach: nothing else is instrumented,
which takes as long as some seconds of fuzzing. The corpus of each is the folder of that name in ``corpus``."""


def target(name: str) -> Callable[[bytes], None]:
    """Return a target; only its own modules are loaded."""
    function: Callable[[bytes], None] = getattr(import_module(f"tests.fuzz.{TARGETS[name][0]}"), name)
    return function
