"""Models on hubs: what is to be looked up, and why an instance waits for that."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from motorpool_controller.domain.hub_files import HubModel
from motorpool_controller.domain.pinning import unknown
from motorpool_controller.domain.placement import Refusal
from motorpool_controller.domain.workload import Deployment, ModelSource
from motorpool_controller.scheduling.scheduler import Verdict
from motorpool_controller.scheduling.snapshot import Reading, Request


def found_of(models: Mapping[ModelSource, Reading], sources: Collection[ModelSource]) -> dict[ModelSource, HubModel]:
    """Return what look-ups found of these sources."""
    return {source: found for source in sources if source in models and (found := models[source].found) is not None}


def unread(request: Request, deployment: Deployment, models: Mapping[ModelSource, Reading]) -> Verdict:
    """Return the verdict on an instance of which something on a hub was not looked up yet."""
    source = unknown(deployment)[0]
    reading = models.get(source, Reading())
    if reading.error_reason:
        reason = reading.error_reason
        message = f"{reading.error_message.rstrip('. ')}. It is looked up again from time to time."
    else:
        reason = "MODEL_NOT_READ_YET"
        message = f"The controller is reading the headers of {source.repository}; what they say comes soon."
    row = Refusal(stage="facts", reason=reason, subject=deployment.name, message=message)
    return Verdict(request=request, refusals=(row,), facts=deployment.facts)
