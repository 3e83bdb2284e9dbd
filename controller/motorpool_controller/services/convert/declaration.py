"""Declared backends, both ways. What a value may be is for ``domain.declaration_faults``."""

from __future__ import annotations

from collections.abc import Mapping

from motorpool import v1
from motorpool_controller.domain.declarations import CPU, Declaration, DeclaredVersion, Definition
from motorpool_controller.services.convert import fields
from motorpool_controller.services.convert.backend import option_message, option_of

MASKED = "***"


def declaration_message(declaration: Declaration, *, masked: bool) -> v1.BackendDeclaration:
    """Return a declaration as a message, defaults written out; ``masked`` hides the values of its environments."""
    return v1.BackendDeclaration(
        description=declaration.description,
        aliases=declaration.aliases,
        versions=[_version_message(version, masked=masked) for version in declaration.versions],
        formats=declaration.formats,
        categories=declaration.categories,
        options=[option_message(option) for option in declaration.options],
        health_path=declaration.health_path,
        metrics_path=declaration.metrics_path,
        api_key_env=declaration.api_key_env,
        start_timeout=fields.duration(declaration.start_timeout_seconds),
        stop_grace=fields.duration(declaration.stop_grace_seconds),
        claim=(
            None
            if declaration.claim_memory_bytes is None and declaration.claim_device_memory_bytes is None
            else v1.ClaimOverride(
                memory_bytes=declaration.claim_memory_bytes, device_memory_bytes=declaration.claim_device_memory_bytes
            )
        ),
    )


def declaration_of(message: v1.BackendDeclaration, field: str = "declaration") -> Declaration:
    """Return a message's declaration."""
    default = Declaration(versions=())
    claim = message.claim
    return Declaration(
        description=message.description,
        aliases=tuple(message.aliases),
        versions=tuple(_version_of(version) for version in message.versions),
        formats=tuple(message.formats),
        categories=tuple(message.categories),
        options=tuple(option_of(option, f"{field}.options[{index}]") for index, option in enumerate(message.options)),
        health_path=message.health_path,
        metrics_path=message.metrics_path,
        api_key_env=message.api_key_env,
        start_timeout_seconds=(
            fields.seconds_of(message.start_timeout)
            if message.HasField("start_timeout")
            else default.start_timeout_seconds
        ),
        stop_grace_seconds=(
            fields.seconds_of(message.stop_grace) if message.HasField("stop_grace") else default.stop_grace_seconds
        ),
        claim_memory_bytes=claim.memory_bytes if claim.HasField("memory_bytes") else None,
        claim_device_memory_bytes=claim.device_memory_bytes if claim.HasField("device_memory_bytes") else None,
    )


def definition_message(definition: Definition) -> v1.BackendDefinition:
    """Return what an assignment is to run as a message."""
    return v1.BackendDefinition(
        backend=definition.backend,
        version=definition.version,
        command=definition.command,
        image=definition.image,
        entrypoint=definition.entrypoint,
        env=definition.env,
        api_key_env=definition.api_key_env,
        health_path=definition.health_path,
        container_port=definition.container_port,
        start_timeout=fields.duration(definition.start_timeout_seconds),
        stop_grace=fields.duration(definition.stop_grace_seconds),
    )


def definition_of(message: v1.BackendDefinition) -> Definition:
    """Return a message's definition."""
    return Definition(
        backend=message.backend,
        version=message.version,
        command=tuple(message.command),
        image=message.image,
        entrypoint=tuple(message.entrypoint),
        env=_sorted(message.env),
        api_key_env=message.api_key_env,
        health_path=message.health_path,
        container_port=message.container_port if message.HasField("container_port") else None,
        start_timeout_seconds=fields.seconds_of(message.start_timeout),
        stop_grace_seconds=fields.seconds_of(message.stop_grace),
    )


def _version_message(version: DeclaredVersion, *, masked: bool) -> v1.DeclaredVersion:
    seconds = {"start_timeout": version.start_timeout_seconds, "stop_grace": version.stop_grace_seconds}
    return v1.DeclaredVersion(
        version=version.version,
        command=version.command,
        image=version.image,
        entrypoint=version.entrypoint,
        env=dict.fromkeys(version.env, MASKED) if masked else version.env,
        frameworks=version.frameworks,
        operating_systems=version.operating_systems,
        architectures=version.architectures,
        container_port=version.container_port,
        health_path=version.health_path,
        packages=version.packages,
        **{name: fields.duration(value) for name, value in seconds.items() if value is not None},
    )


def _version_of(message: v1.DeclaredVersion) -> DeclaredVersion:
    return DeclaredVersion(
        version=message.version,
        command=tuple(message.command),
        image=message.image,
        entrypoint=tuple(message.entrypoint),
        env=_sorted(message.env),
        frameworks=tuple(message.frameworks) or (CPU,),
        operating_systems=tuple(message.operating_systems),
        architectures=tuple(message.architectures),
        container_port=message.container_port if message.HasField("container_port") else None,
        health_path=message.health_path,
        packages=tuple(message.packages),
        start_timeout_seconds=(fields.seconds_of(message.start_timeout) if message.HasField("start_timeout") else None),
        stop_grace_seconds=fields.seconds_of(message.stop_grace) if message.HasField("stop_grace") else None,
    )


def _sorted(env: Mapping[str, str]) -> dict[str, str]:
    return {name: env[name] for name in sorted(env)}
