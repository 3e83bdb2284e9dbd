"""What a deployment's spec may say, and what changing it means."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime

from motorpool_controller.domain.environment import why_owned
from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.domain.faults import Fault, refuse
from motorpool_controller.domain.images import image_fault
from motorpool_controller.domain.names import device_of, shown
from motorpool_controller.domain.packages import package_faults
from motorpool_controller.domain.parameters import MAX_ELEMENT_CHARACTERS, MAX_ELEMENTS
from motorpool_controller.domain.rollouts import MOST_FORMER, history, same_instances
from motorpool_controller.domain.workload import (
    Deployment,
    DeploymentSpec,
    ModelSource,
    Rollout,
    RolloutState,
    SourceKind,
)

MAX_REPLICAS = 1_000
MAX_PATH_CHARACTERS = 4_096
MAX_NAME_CHARACTERS = 256
MAX_ENTRIES = 256
MAX_BYTES = 1 << 60
MAX_DRAIN_SECONDS = 3_600.0
CATEGORIES = ("llm", "embedding", "reranker", "image", "speech_to_text", "text_to_speech")

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_SERVED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]*")
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")


def check_spec(spec: DeploymentSpec) -> None:
    """Raise FIELD_INVALID with every fault of the spec, each with its field; ``fields`` lists them for machines.

    Parameters are checked by ``parameters.parse``, against the profile of the backend.
    """
    refuse(fault for check in _CHECKS for fault in check(spec))


def check_source(source: ModelSource, field: str) -> None:
    """Raise FIELD_INVALID with every fault of where a model lies."""
    refuse(_check_source(source, field))


def revised(deployment: Deployment, spec: DeploymentSpec, now: datetime) -> Deployment:
    """Return the deployment with a new spec: unchanged if it is the same, else of the next generation.

    A change of the number of replicas or of the rollout's strategy leaves the instances be; any other change replaces
    them, and a change of the model forgets what was known of the old one. A spec that it had before has its generation
    of then: instances of it that still stand are not replaced.
    """
    if spec == deployment.spec:
        return deployment
    generation = deployment.generation + 1
    if same_instances(spec, deployment.spec):
        rollout = deployment.rollout
        # There may be room now, or another way.
        if rollout is not None and rollout.state in {RolloutState.NO_ROOM, RolloutState.UNPLACEABLE}:
            rollout = Rollout(state=RolloutState.PROGRESSING, state_time=now)
        return replace(deployment, spec=spec, generation=generation, rollout=rollout)
    before = history(deployment)
    again = next((each for each in before if same_instances(each.spec, spec)), None)
    same_model = spec.model == deployment.spec.model
    return replace(
        deployment,
        spec=spec,
        generation=generation,
        template_generation=generation if again is None else again.template_generation,
        template_time=now,
        former=tuple(each for each in before if each is not again)[-MOST_FORMER:],
        rollout=Rollout(state=RolloutState.PROGRESSING, state_time=now),
        facts=deployment.facts if same_model else None,
        estimate=None,
    )


def _check_model(spec: DeploymentSpec) -> Iterator[Fault]:
    yield from _check_source(spec.model, "spec.model")
    if spec.speculative is not None and spec.speculative.draft_model is not None:
        yield from _check_source(spec.speculative.draft_model, "spec.speculative.draft_model")
    names = [adapter.adapter for adapter in spec.lora_adapters]
    for adapter in spec.lora_adapters:
        field = "spec.lora_adapters"
        if not _SERVED.fullmatch(adapter.adapter) or len(adapter.adapter) > MAX_NAME_CHARACTERS:
            yield field, f"{shown(adapter.adapter)} is no name for an adapter; use letters, digits and . _ : / -"
        elif names.count(adapter.adapter) > 1:
            yield field, f"{shown(adapter.adapter)} is there twice; give each adapter a name of its own"
        yield from _check_source(adapter.source, field)


def _check_source(source: ModelSource, field: str) -> Iterator[Fault]:
    if source.kind is SourceKind.LOCAL_PATH:
        if source.repository or source.file or source.revision:
            yield field, "local_path stands beside a repository; give one of them"
        yield from _check_path(source.path, f"{field}.local_path")
        return
    if source.path:
        yield field, "a repository stands beside local_path; give one of them"
    if not _REPOSITORY.fullmatch(source.repository) or len(source.repository) > MAX_NAME_CHARACTERS:
        yield (
            f"{field}.{source.kind.value}",
            f"{shown(source.repository)} is not of the form OWNER/NAME, e.g. Qwen/Qwen3-8B",
        )
    for text in (source.file, source.revision):
        if len(text) > MAX_NAME_CHARACTERS or not text.isprintable() or ".." in text.split("/"):
            yield f"{field}.{source.kind.value}", f"{shown(text)} is no file or revision of a repository"


def _check_path(path: str, field: str) -> Iterator[Fault]:
    if not path:
        yield field, "the path of the model is missing; give the absolute path that it has on the nodes"
    elif not path.startswith("/"):
        yield field, f"{shown(path)} is not absolute; nodes have no common directory to start from, so begin with /"
    elif len(path) > MAX_PATH_CHARACTERS or "\0" in path or ".." in path.split("/"):
        yield (
            field,
            f"{shown(path)} is longer than {MAX_PATH_CHARACTERS} characters, or has .. or NUL in it; name it plainly",
        )


def _check_numbers(spec: DeploymentSpec) -> Iterator[Fault]:
    if not 0 <= spec.replicas <= MAX_REPLICAS:
        yield "spec.replicas", f"{spec.replicas} is not between 0 and {MAX_REPLICAS}"
    if spec.devices_per_instance < 0:
        yield (
            "spec.device_selector.devices_per_instance",
            f"{spec.devices_per_instance} is negative; 0 lets the rules decide",
        )
    if not math.isfinite(spec.reschedule_after_seconds):
        yield "spec.reschedule_after", "it is no number of seconds; a negative one means never"
    if spec.drain_seconds is not None and not 0 <= spec.drain_seconds <= MAX_DRAIN_SECONDS:
        yield "spec.drain_timeout", f"{spec.drain_seconds:g} s is not between 0 s and {MAX_DRAIN_SECONDS:g} s"
    for field, size in (
        ("spec.claim.memory_bytes", spec.claim_memory_bytes),
        ("spec.claim.device_memory_bytes", spec.claim_device_memory_bytes),
    ):
        if size is not None and not 0 < size <= MAX_BYTES:
            yield field, f"{size} is no size in bytes; give a positive number, or leave it out to have it estimated"
    cache = spec.extended_kv_cache
    if cache is not None:
        ratio = cache.memory_ratio
        if ratio is not None and not (math.isfinite(ratio) and ratio > 0):
            yield "spec.extended_kv_cache.memory_ratio", f"{ratio} is not a positive number"
        if cache.memory_bytes is not None and not 0 < cache.memory_bytes <= MAX_BYTES:
            yield "spec.extended_kv_cache.memory_bytes", f"{cache.memory_bytes} is no positive number of bytes"


def _check_devices(spec: DeploymentSpec) -> Iterator[Fault]:
    field = "spec.device_selector.devices"
    if len(spec.devices) > MAX_ENTRIES:
        yield field, f"{len(spec.devices)} devices are named, and {MAX_ENTRIES} is the most"
        return
    for name in spec.devices:
        try:
            device_of(name, field)
        except InvalidError as error:
            yield field, error.message.removeprefix(f"{field}: ")
    if len(set(spec.devices)) < len(spec.devices):
        yield field, "a device is named twice; name each once"
    if spec.devices and spec.devices_per_instance > len(spec.devices):
        yield (
            "spec.device_selector.devices_per_instance",
            f"{spec.devices_per_instance} devices for each instance, and only {len(spec.devices)} are named",
        )
    if spec.allow_overcommit and not spec.devices:
        yield "spec.allow_overcommit", "it is for pinned devices; name them in device_selector, or leave it out"


def _check_words(spec: DeploymentSpec) -> Iterator[Fault]:
    for field, text in (("spec.backend", spec.backend), ("spec.backend_version", spec.backend_version)):
        if text and (len(text) > MAX_NAME_CHARACTERS or not _WORD.fullmatch(text)):
            yield field, f"{shown(text)} is not one; `motorpool plugins` lists backends and their versions"
    served = spec.served_model_name
    if served and (len(served) > MAX_NAME_CHARACTERS or not _SERVED.fullmatch(served)):
        yield (
            "spec.served_model_name",
            f"{shown(served)} has characters other than letters, digits and . _ : / @ + -; choose another name",
        )
    for category in spec.categories:
        if category not in CATEGORIES:
            yield "spec.categories", f"{shown(category)} is none of {', '.join(CATEGORIES)}"
    if spec.image and (why := image_fault(spec.image)):
        yield "spec.image", f"{shown(spec.image)} is no reference of a container image: {why}"


def _check_maps(spec: DeploymentSpec) -> Iterator[Fault]:
    for field, entries in (("spec.env", spec.env), ("spec.node_selector.match_labels", spec.match_labels)):
        if len(entries) > MAX_ENTRIES:
            yield field, f"{len(entries)} entries, and {MAX_ENTRIES} is the most"
    for name, value in spec.env.items():
        if not _ENV_NAME.fullmatch(name) or len(name) > MAX_NAME_CHARACTERS:
            yield "spec.env", f"{shown(name)} is no name of a variable; use letters, digits and _, not a digit first"
        elif why := why_owned(name):
            yield "spec.env", f"{name} cannot be set: {why}"
        if "\0" in value or len(value) > MAX_ELEMENT_CHARACTERS:
            yield "spec.env", f"the value of {shown(name)} holds a NUL character or is too long; shorten it"
    for key, value in spec.match_labels.items():
        if not key or not key.isprintable() or max(len(key), len(value)) > MAX_NAME_CHARACTERS:
            yield (
                "spec.node_selector.match_labels",
                f"{shown(key)} is no label; `motorpool nodes` shows those there are",
            )


def _check_arguments(spec: DeploymentSpec) -> Iterator[Fault]:
    for field, arguments in (("spec.parameters", spec.parameters), ("spec.command", spec.command)):
        if len(arguments) > MAX_ELEMENTS:
            yield field, f"{len(arguments)} elements, and {MAX_ELEMENTS} is the most"
        elif any("\0" in argument or len(argument) > MAX_ELEMENT_CHARACTERS for argument in arguments):
            yield field, f"an element holds a NUL character or more than {MAX_ELEMENT_CHARACTERS} characters"
    yield from package_faults(spec.packages, "spec.packages")
    speculative = spec.speculative
    if speculative is not None and not _WORD.fullmatch(speculative.algorithm):
        yield "spec.speculative.algorithm", f"{shown(speculative.algorithm)} is none; e.g. eagle3, mtp or ngram"


_CHECKS: tuple[Callable[[DeploymentSpec], Iterator[Fault]], ...] = (
    _check_model,
    _check_numbers,
    _check_devices,
    _check_words,
    _check_maps,
    _check_arguments,
)
