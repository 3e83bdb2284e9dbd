"""What is known of backends without a node that offers them: whose rules estimates follow, and what changes facts.

``profiles/`` has what each backend's own documentation says, as BackendProfile messages in JSON. A node's own profile,
which its plugin reports, comes before; llama.cpp's file is held to its plugin by a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files

from google.protobuf.json_format import Parse

from motorpool import v1
from motorpool_controller.domain.backends import Offer
from motorpool_controller.domain.fleet import Profile
from motorpool_controller.services.convert.backend import profile_of

CONTEXT = "context_length"
"""What the option that tells the context means, in every profile."""

_NAMES = ("llama_cpp", "mindie", "sglang", "vllm", "vox_box")


def _built_in(backend: str) -> Profile:
    text = files(__package__).joinpath("profiles", f"{backend}.json").read_text(encoding="utf-8")
    return profile_of(Parse(text, v1.BackendProfile()), backend)


BUILT_IN: Mapping[str, Profile] = {name: _built_in(name) for name in _NAMES}
"""Profiles by name of the backend, for fleets that tell of none."""

KNOWN: Mapping[str, Offer] = {name: Offer(replace(profile, versions=()), ()) for name, profile in BUILT_IN.items()}
"""The same without versions, which nodes alone have."""
