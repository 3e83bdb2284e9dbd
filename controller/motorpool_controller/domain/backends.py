"""Backends on offer, and which one is meant: by name, by alias, or by the model alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from motorpool_controller.domain.declarations import DeclaredBackend, profile_of
from motorpool_controller.domain.fleet import Node, Profile
from motorpool_controller.domain.workload import DeploymentSpec, SourceKind
from motorpool_formats.facts import ModelFacts

_BY_FORMAT = {"gguf": "llama_cpp"}
_BY_CATEGORY = {"speech_to_text": "vox_box", "text_to_speech": "vox_box", "image": "sglang"}
_OTHERS = "vllm"


@dataclass(frozen=True, slots=True)
class Offer:
    """A backend and the full names of the nodes that offer it; the profile is the first one's, or declared.

    ``versions`` are those of any of the nodes, the first one's before the others'.
    """

    profile: Profile
    nodes: tuple[str, ...]
    declared: DeclaredBackend | None = None
    versions: tuple[str, ...] = ()


def wanted_backend(spec: DeploymentSpec, facts: ModelFacts | None) -> str | None:
    """Return the backend that the spec names, or the one for its model; None as long as the model is not known.

    A file named ``*.gguf`` is known before it was read (rule B1.1).
    """
    if spec.backend:
        return normal(spec.backend)
    file = spec.model.path if spec.model.kind is SourceKind.LOCAL_PATH else spec.model.file
    if file.endswith(".gguf"):
        return _BY_FORMAT["gguf"]
    if facts is None:
        return None
    if facts.format in _BY_FORMAT:
        return _BY_FORMAT[facts.format]
    categories = spec.categories or facts.categories
    return next((_BY_CATEGORY[category] for category in categories if category in _BY_CATEGORY), _OTHERS)


def answers_to(profile: Profile, backend: str) -> bool:
    """Return whether the profile's backend goes by this name or alias."""
    return normal(backend) in {normal(name) for name in (profile.backend, *profile.aliases)}


def declared_as(declared: Mapping[str, DeclaredBackend], backend: str) -> DeclaredBackend | None:
    """Return the declared backend of this name or alias; a name wins over an alias."""
    return _by_any_name(declared).get(normal(backend))


def declared_profiles(declared: Mapping[str, DeclaredBackend]) -> dict[str, Profile]:
    """Return the profiles of declared backends by each of their names, as ``wanted_backend`` says them.

    What is declared wins over what a node's plugin reports under the same name: it holds on every node alike.
    """
    return {name: profile_of(backend) for name, backend in _by_any_name(declared).items()}


def with_declared_claim(
    spec: DeploymentSpec, facts: ModelFacts | None, declared: Mapping[str, DeclaredBackend]
) -> DeploymentSpec:
    """Return the spec with its declared backend's claims where it has none; what is given by hand wins."""
    wanted = wanted_backend(spec, facts) if declared else None
    backend = None if wanted is None else declared_as(declared, wanted)
    if backend is None:
        return spec
    claims = backend.declaration
    memory = _first(spec.claim_memory_bytes, claims.claim_memory_bytes)
    device = _first(spec.claim_device_memory_bytes, claims.claim_device_memory_bytes)
    if (memory, device) == (spec.claim_memory_bytes, spec.claim_device_memory_bytes):
        return spec
    return replace(spec, claim_memory_bytes=memory, claim_device_memory_bytes=device)


def _first(*sizes: int | None) -> int | None:
    return next((size for size in sizes if size is not None), None)


def _by_any_name(declared: Mapping[str, DeclaredBackend]) -> dict[str, DeclaredBackend]:
    backends = [declared[name] for name in sorted(declared, reverse=True)]
    aliases = {normal(alias): backend for backend in backends for alias in backend.declaration.aliases}
    return aliases | {normal(backend.backend): backend for backend in backends}


def own_profiles(node: Node, profiles: Mapping[str, Profile]) -> tuple[Profile, ...]:
    """Return the profiles of a node's backends, by name, but for those that run declared ones."""
    found = (profiles.get(node.profiles[backend]) for backend in sorted(node.profiles))
    return tuple(profile for profile in found if profile is not None and not profile.runs_declared)


def runner_of(node: Node, profiles: Mapping[str, Profile]) -> str:
    """Return the backend of a node whose plugin runs declared ones, empty where there is none."""
    found = (profiles.get(node.profiles[backend]) for backend in sorted(node.profiles))
    return next((profile.backend for profile in found if profile is not None and profile.runs_declared), "")


def normal(backend: str) -> str:
    """Return a backend's name as names are compared: lower case, underscores for dashes and dots."""
    return backend.lower().replace("-", "_").replace(".", "_")


def misfit(profile: Profile, facts: ModelFacts, categories: Sequence[str] = ()) -> tuple[str, str] | None:
    """Return why the profile's backend cannot run the model, as a stable reason and in words; None where it can.

    ``categories`` are those that a user wants it for; without any it is for what its headers say.
    """
    if profile.formats and facts.format not in profile.formats:
        return (
            "FORMAT_UNSUPPORTED",
            f"it reads {', '.join(profile.formats)}, and the model is {facts.format}; choose another, or convert it",
        )
    if profile.architectures and facts.architecture not in profile.architectures:
        return (
            "ARCHITECTURE_UNSUPPORTED",
            f"it does not run architecture {facts.architecture or 'unknown'}; choose another backend or version",
        )
    wanted = categories or facts.categories
    if profile.categories and wanted and not set(profile.categories) & set(wanted):
        return (
            "CATEGORY_UNSUPPORTED",
            f"it serves {', '.join(profile.categories)}, and the model is for {', '.join(wanted)}; choose another",
        )
    return None
