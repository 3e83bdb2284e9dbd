"""The real clients of a local hub, as a controller has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from motorpool_controller.catalog.hub import Hub
from motorpool_controller.catalog.hugging_face import HuggingFace
from motorpool_controller.catalog.model_scope import ModelScope
from motorpool_controller.domain.workload import SourceKind
from tests.hub.server import LocalHub


def hubs_of(
    hub: LocalHub, *, token: str = "", made: Callable[[Hub], Hub] = lambda client: client
) -> Mapping[SourceKind, Callable[[], Hub]]:
    """Return clients of the hub; each passes through ``made`` when it is."""
    return {
        SourceKind.HUGGING_FACE: lambda: made(HuggingFace(hub.endpoint, token)),
        SourceKind.MODEL_SCOPE: lambda: made(ModelScope(hub.endpoint, token, environment={})),
    }
