"""Which backend is meant: by name, by alias, or by the model alone."""

from __future__ import annotations

from collections.abc import Sequence

from motorpool_controller.domain.fleet import Profile
from motorpool_controller.domain.workload import DeploymentSpec, SourceKind
from motorpool_formats.facts import ModelFacts

_BY_FORMAT = {"gguf": "llama_cpp"}
_BY_CATEGORY = {"speech_to_text": "vox_box", "text_to_speech": "vox_box", "image": "sglang"}
_OTHERS = "vllm"


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
