"""Backends that an operator declared: what was said of them, and what follows for scheduling and for launches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from motorpool_controller.domain import templates
from motorpool_controller.domain.fleet import BackendVersion, MemoryModel, Option, Profile
from motorpool_controller.domain.names import id_of, shown

CPU = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredVersion:
    """How one version is run; None: as the backend. ``command``, ``entrypoint`` and values of ``env`` are templates.

    ``packages`` are installed in its image before it runs.
    """

    version: str
    command: tuple[str, ...] = ()
    image: str = ""
    entrypoint: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    frameworks: tuple[str, ...] = (CPU,)
    operating_systems: tuple[str, ...] = ()
    architectures: tuple[str, ...] = ()
    container_port: int | None = None
    health_path: str = ""
    start_timeout_seconds: float | None = None
    stop_grace_seconds: float | None = None
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What an operator says of a backend. Field for field the proto's ``BackendDeclaration``, defaults applied."""

    versions: tuple[DeclaredVersion, ...]
    description: str = ""
    aliases: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    health_path: str = ""
    metrics_path: str = ""
    api_key_env: str = ""
    start_timeout_seconds: float = 600.0
    stop_grace_seconds: float = 30.0
    claim_memory_bytes: int | None = None
    claim_device_memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredBackend:
    """A declaration under its full name (``backends/echo``)."""

    name: str
    declaration: Declaration
    create_time: datetime
    update_time: datetime
    revision: int = 0

    @property
    def backend(self) -> str:
        """Return the name that deployments say."""
        return id_of(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A version as an assignment carries it: nothing in it is looked up again."""

    backend: str
    version: str
    command: tuple[str, ...] = ()
    image: str = ""
    entrypoint: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    api_key_env: str = ""
    health_path: str = ""
    container_port: int | None = None
    start_timeout_seconds: float = 600.0
    stop_grace_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Lack:
    """Why a version cannot be launched for a deployment: a stable reason, the spec's field, and a sentence."""

    reason: str
    field: str
    message: str


def profile_of(declared: DeclaredBackend) -> Profile:
    """Return what scheduling knows of a declared backend, on every node that runs declared ones."""
    declaration = declared.declaration
    return Profile(
        backend=declared.backend,
        versions=tuple(
            BackendVersion(
                version=version.version,
                frameworks=version.frameworks,
                executors=("docker",) if version.image else ("process", "docker"),
                operating_systems=version.operating_systems,
                architectures=version.architectures,
                image=version.image,
                executable="" if version.image else version.command[0],
                installed=True,
            )
            for version in declaration.versions
        ),
        # Nothing is known of how it takes memory but what a person says.
        memory_model=MemoryModel.FIXED,
        rules="fixed",
        aliases=declaration.aliases,
        formats=declaration.formats,
        categories=declaration.categories,
        options=declaration.options,
        health_path=declaration.health_path,
        metrics_path=declaration.metrics_path,
        api_key=bool(declaration.api_key_env),
        cpu=any(CPU in version.frameworks for version in declaration.versions),
        start_timeout_seconds=declaration.start_timeout_seconds,
        stop_grace_seconds=declaration.stop_grace_seconds,
    )


def packages_of(declared: DeclaredBackend | None, version: str) -> tuple[str, ...]:
    """Return the packages that a version wants installed in its image; none where nothing is declared."""
    versions = () if declared is None else declared.declaration.versions
    return next((each.packages for each in versions if each.version == version), ())


def definition_of(declared: DeclaredBackend, version: str) -> Definition | None:
    """Return a version as it is to be launched; None if there is none such."""
    declaration = declared.declaration
    found = next((each for each in declaration.versions if each.version == version), None)
    if found is None:
        return None
    return Definition(
        backend=declared.backend,
        version=found.version,
        command=found.command,
        image=found.image,
        entrypoint=found.entrypoint,
        env=found.env,
        api_key_env=declaration.api_key_env,
        health_path=found.health_path or declaration.health_path,
        container_port=found.container_port,
        start_timeout_seconds=(
            declaration.start_timeout_seconds if found.start_timeout_seconds is None else found.start_timeout_seconds
        ),
        stop_grace_seconds=(
            declaration.stop_grace_seconds if found.stop_grace_seconds is None else found.stop_grace_seconds
        ),
    )


def lack(declared: DeclaredBackend, version: str, *, env: Iterable[str], image: str) -> Lack | None:
    """Return what a version lacks to be launched with these variables, in this image (empty: as declared)."""
    definition = definition_of(declared, version)
    if definition is None:
        return Lack("VERSION_MISSING", "spec.backend_version", f"{declared.backend} has no version {shown(version)}")
    what = f"{declared.backend} {version}"
    missing = missing_variables(definition, env)
    if missing:
        listed = ", ".join(f"{{{{{name}}}}}" for name in missing)
        given = " ".join(f"--env {name}=VALUE" for name in missing)
        return Lack("VARIABLE_MISSING", "spec.env", f"{what} uses {listed}, which nobody gives; deploy with {given}")
    if image and not definition.health_path:
        return Lack(
            "HEALTH_PATH_MISSING",
            "spec.image",
            f"{what} has no health_path, without which nobody learns when a container is ready; declare one, or leave "
            "the image out",
        )
    return None


def missing_variables(version: Definition, env: Iterable[str]) -> tuple[str, ...]:
    """Return the variables that a version uses, and that neither ``env`` nor its own environment gives."""
    given = {*templates.PROVIDED, *env, *version.env}
    used = templates.names((*version.entrypoint, *version.command, *version.env.values()))
    return tuple(name for name in used if name not in given)


def variable_arguments(definition: Definition, *, own_image: bool) -> tuple[bool, ...]:
    """Return, for each argument that is launched, whether a variable of the environment stands in it."""
    arguments = (*(definition.entrypoint if own_image else ()), *definition.command)
    return tuple(bool(set(templates.names([argument])) - templates.PROVIDED) for argument in arguments)
