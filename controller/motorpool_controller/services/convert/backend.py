"""Backends' profiles."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import msgspec

from motorpool import v1
from motorpool_controller.domain.fleet import BackendVersion, MemoryModel, Option, OptionKind, Profile, StartOrder
from motorpool_controller.services.convert import fields

_ENCODER = msgspec.json.Encoder(order="deterministic")
PROFILES_KNOWN = 256
_MAX_ENTRIES = 10_000


def profile_digest(profile: Profile) -> str:
    """Return the digest under which a profile is stored."""
    return hashlib.sha256(_ENCODER.encode(profile)).hexdigest()


@dataclass(frozen=True, slots=True)
class KnownProfile:
    """A profile and its digest."""

    profile: Profile
    digest: str


def known_profile(message: v1.BackendProfile) -> KnownProfile:
    """Return a profile as an agent reports it: one object for all agents that report the same."""
    return _known(message.SerializeToString(deterministic=True))


@lru_cache(maxsize=PROFILES_KNOWN)
def _known(message: bytes) -> KnownProfile:
    profile = profile_of(v1.BackendProfile.FromString(message))
    return KnownProfile(profile, profile_digest(profile))


def profile_message(profile: Profile) -> v1.BackendProfile:
    """Return a profile as a message."""
    return v1.BackendProfile(
        backend=profile.backend,
        aliases=profile.aliases,
        versions=[_version_message(version) for version in profile.versions],
        memory_model=fields.number(v1.MemoryModel, "MEMORY_MODEL", profile.memory_model),
        rules=profile.rules,
        fraction_option=profile.fraction_option,
        fraction_default=profile.fraction_default,
        formats=profile.formats,
        architectures=profile.architectures,
        categories=profile.categories,
        distributed_styles=profile.distributed_styles,
        options=[option_message(option) for option in profile.options],
        health_path=profile.health_path,
        metrics_path=profile.metrics_path,
        api_key=profile.api_key,
        start_timeout=fields.duration(profile.start_timeout_seconds),
        stop_grace=fields.duration(profile.stop_grace_seconds),
        cpu=profile.cpu,
        runs_declared=profile.runs_declared,
        start_orders={
            style: fields.number(v1.StartOrder, "START_ORDER", order) for style, order in profile.start_orders
        },
        features=profile.features,
        closed_options=profile.closed_options,
        most_devices=profile.most_devices,
    )


def profile_of(message: v1.BackendProfile, field: str = "profile") -> Profile:
    """Return a profile as an agent reports it. One broken part refuses the whole: half a profile misplaces."""
    if max(len(message.options), len(message.versions)) > _MAX_ENTRIES:
        raise fields.invalid(field, f"it has more than {_MAX_ENTRIES} options or versions")
    default = Profile(backend="x", versions=(), memory_model=MemoryModel.FIXED, rules="fixed")
    return Profile(
        backend=fields.name(message.backend, f"{field}.backend"),
        versions=tuple(_version_of(version, f"{field}.versions") for version in message.versions),
        memory_model=fields.required(
            v1.MemoryModel, "MEMORY_MODEL", message.memory_model, MemoryModel, f"{field}.memory_model"
        ),
        rules=fields.name(message.rules, f"{field}.rules"),
        aliases=_names(message.aliases, f"{field}.aliases"),
        fraction_option=fields.word(message.fraction_option, f"{field}.fraction_option"),
        fraction_default=(
            fields.ratio(message.fraction_default, f"{field}.fraction_default")
            if message.HasField("fraction_default")
            else None
        ),
        formats=_names(message.formats, f"{field}.formats"),
        architectures=_names(message.architectures, f"{field}.architectures"),
        categories=_names(message.categories, f"{field}.categories"),
        distributed_styles=_names(message.distributed_styles, f"{field}.distributed_styles"),
        options=tuple(option_of(option, f"{field}.options") for option in message.options),
        health_path=fields.word(message.health_path, f"{field}.health_path"),
        metrics_path=fields.word(message.metrics_path, f"{field}.metrics_path"),
        api_key=message.api_key,
        cpu=message.cpu,
        runs_declared=message.runs_declared,
        start_orders=tuple(_start_orders(message.start_orders, f"{field}.start_orders")),
        features=_names(message.features, f"{field}.features"),
        closed_options=message.closed_options,
        most_devices=fields.size(message.most_devices, f"{field}.most_devices"),
        start_timeout_seconds=(
            fields.bounded_seconds_of(message.start_timeout, f"{field}.start_timeout")
            if message.HasField("start_timeout")
            else default.start_timeout_seconds
        ),
        stop_grace_seconds=(
            fields.bounded_seconds_of(message.stop_grace, f"{field}.stop_grace")
            if message.HasField("stop_grace")
            else default.stop_grace_seconds
        ),
    )


def _start_orders(orders: Mapping[str, v1.StartOrder.ValueType], field: str) -> Iterator[tuple[str, StartOrder]]:
    for style, number in sorted(orders.items()):
        order = fields.member(v1.StartOrder, "START_ORDER", number, StartOrder, f"{field}.{style}")
        if order not in {None, StartOrder.TOGETHER}:
            yield fields.name(style, field), order


def _version_message(version: BackendVersion) -> v1.BackendVersion:
    return v1.BackendVersion(
        version=version.version,
        frameworks=version.frameworks,
        executors=version.executors,
        operating_systems=version.operating_systems,
        architectures=version.architectures,
        image=version.image,
        executable=version.executable,
        environment=v1.EngineEnvironment(requirements=version.requirements) if version.requirements else None,
        installed=version.installed,
        least_runtimes=dict(version.least_runtimes),
    )


def _version_of(message: v1.BackendVersion, field: str) -> BackendVersion:
    return BackendVersion(
        version=fields.name(message.version, f"{field}.version"),
        frameworks=_names(message.frameworks, f"{field}.frameworks"),
        executors=_names(message.executors, f"{field}.executors"),
        operating_systems=_names(message.operating_systems, f"{field}.operating_systems"),
        architectures=_names(message.architectures, f"{field}.architectures"),
        image=fields.word(message.image, f"{field}.image"),
        executable=fields.text(message.executable),
        requirements=_names(message.environment.requirements, f"{field}.environment.requirements"),
        installed=message.installed,
        least_runtimes=tuple(
            (
                fields.word(framework, f"{field}.least_runtimes"),
                fields.word(least, f"{field}.least_runtimes.{framework}"),
            )
            for framework, least in sorted(message.least_runtimes.items())
        ),
    )


def option_message(option: Option) -> v1.BackendOption:
    """Return an option as a message."""
    return v1.BackendOption(
        option=option.name,
        aliases=option.aliases,
        kind=fields.number(v1.OptionKind, "OPTION_KIND", option.kind),
        system_owned=option.system_owned,
        meaning=option.meaning,
        least=option.least,
        most=option.most,
        above=option.above,
        multiple_of=option.multiple_of,
        power_of_two=option.power_of_two,
        choices=option.choices,
        default_value=option.default,
        below=option.below,
        excludes=option.excludes,
    )


def option_of(message: v1.BackendOption, field: str) -> Option:
    """Return an option as an agent or an operator gives it."""
    return Option(
        name=fields.name(message.option, f"{field}.option"),
        aliases=_names(message.aliases, f"{field}.aliases"),
        kind=(
            fields.member(v1.OptionKind, "OPTION_KIND", message.kind, OptionKind, f"{field}.kind") or OptionKind.STRING
        ),
        system_owned=message.system_owned,
        meaning=fields.word(message.meaning, f"{field}.meaning"),
        least=_limit(message, "least", field),
        most=_limit(message, "most", field),
        above=_limit(message, "above", field),
        multiple_of=fields.size(message.multiple_of, f"{field}.multiple_of"),
        power_of_two=message.power_of_two,
        choices=tuple(fields.word(each, f"{field}.choices") for each in message.choices),
        default=fields.word(message.default_value, f"{field}.default_value"),
        below=fields.word(message.below, f"{field}.below"),
        excludes=_names(message.excludes, f"{field}.excludes"),
    )


def _limit(message: v1.BackendOption, limit: Literal["least", "most", "above"], field: str) -> float | None:
    if not message.HasField(limit):
        return None
    value: float = getattr(message, limit)
    if not math.isfinite(value):
        raise fields.invalid(f"{field}.{limit}", f"{value} is no limit; give a number, or leave it out")
    return value


def _names(values: Iterable[str], field: str) -> tuple[str, ...]:
    return tuple(fields.name(value, field) for value in values)
