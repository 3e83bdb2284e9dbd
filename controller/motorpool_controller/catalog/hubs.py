"""The hubs there are, each made when it is first asked: their libraries cost a quarter of a second and 20 MiB."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from motorpool_controller.catalog.hub import Hub
from motorpool_controller.domain.workload import SourceKind


def _hugging_face() -> Hub:
    from motorpool_controller.catalog.hugging_face import HuggingFace  # noqa: PLC0415  # as the docstring says

    return HuggingFace()


def _model_scope() -> Hub:
    from motorpool_controller.catalog.model_scope import ModelScope  # noqa: PLC0415  # as above

    return ModelScope()


HUBS: Mapping[SourceKind, Callable[[], Hub]] = {
    SourceKind.HUGGING_FACE: _hugging_face,
    SourceKind.MODEL_SCOPE: _model_scope,
}

NAMES: Mapping[SourceKind, str] = {
    SourceKind.HUGGING_FACE: "the Hugging Face hub",
    SourceKind.MODEL_SCOPE: "ModelScope",
}
