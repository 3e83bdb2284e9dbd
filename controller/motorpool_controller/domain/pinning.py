"""A spec whose models on hubs are pinned to what the controller found there: the same files for all instances."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from motorpool_controller.domain.hub_files import HubModel
from motorpool_controller.domain.workload import Deployment, DeploymentSpec, ModelSource, SourceKind
from motorpool_formats.facts import ModelFacts


def on_hub(source: ModelSource) -> bool:
    """Return whether a model lies on a hub, where the controller looks it up, and nodes fetch it from."""
    return source.kind is not SourceKind.LOCAL_PATH


def hub_sources(spec: DeploymentSpec) -> Iterator[ModelSource]:
    """Yield what a spec wants of hubs: its model, adapters and draft model, each once."""
    draft = None if spec.speculative is None else spec.speculative.draft_model
    wanted = [spec.model, *(adapter.source for adapter in spec.lora_adapters), *([] if draft is None else [draft])]
    yield from dict.fromkeys(source for source in wanted if on_hub(source))


def unknown(deployment: Deployment) -> list[ModelSource]:
    """Return what a deployment wants of hubs and was not looked up yet."""
    known = {source for source, _ in deployment.hub_models}
    return [source for source in hub_sources(deployment.spec) if source not in known]


def pinned_source(source: ModelSource, found: HubModel) -> ModelSource:
    """Return the source as it was found: on a hub that knows commits, its revision is the commit."""
    if source.kind is SourceKind.HUGGING_FACE:
        return replace(source, revision=found.commit, commit=found.commit)
    return replace(source, commit=found.commit)


def pinned(deployment: Deployment, spec: DeploymentSpec) -> DeploymentSpec:
    """Return a deployment's spec with its sources pinned, the very same object where none lies on a hub."""
    places = {source: pinned_source(source, found) for source, found in deployment.hub_models}
    if not any(source in places for source in hub_sources(spec)):
        return spec
    speculative = spec.speculative
    if speculative is not None and speculative.draft_model is not None:
        draft = speculative.draft_model
        speculative = replace(speculative, draft_model=places.get(draft, draft))
    return replace(
        spec,
        model=places.get(spec.model, spec.model),
        lora_adapters=tuple(replace(each, source=places.get(each.source, each.source)) for each in spec.lora_adapters),
        speculative=speculative,
    )


def with_found(deployment: Deployment, found: Mapping[ModelSource, HubModel]) -> Deployment:
    """Return a deployment that knows what was found of its sources; the very same object where that is nothing new.

    What it knows already stays as it was, whatever became of the branch since.
    """
    known = {**found, **dict(deployment.hub_models)}
    models = tuple((source, known[source]) for source in hub_sources(deployment.spec) if source in known)
    return deployment if models == deployment.hub_models else replace(deployment, hub_models=models)


def downloads_of(deployment: Deployment) -> tuple[tuple[ModelSource, HubModel], ...]:
    """Return what nodes fetch for a deployment, by pinned source."""
    return tuple((pinned_source(source, found), replace(found, facts=None)) for source, found in deployment.hub_models)


def facts_by_place(deployments: Iterable[Deployment]) -> dict[str, ModelFacts]:
    """Return the facts of all models on hubs that deployments were found to mean, by place."""
    return {
        pinned_source(source, found).place: found.facts
        for deployment in deployments
        for source, found in deployment.hub_models
        if found.facts is not None
    }
