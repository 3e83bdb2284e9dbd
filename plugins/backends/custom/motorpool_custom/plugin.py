"""What Motorpool asks of declared backends: whether one can be launched, and how. All it knows is what was declared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from motorpool_custom.templates import names, render
from motorpool_sdk import (
    BackendPlugin,
    Definition,
    Finding,
    Launch,
    LaunchRequest,
    MemoryModel,
    Probe,
    Profile,
    Severity,
    hookimpl,
)


class Custom:
    """Runs what a definition says: a process, or a container of an image."""

    def profile(self) -> Profile:
        """Return that declared backends can be run here; what they are, the controller knows."""
        return Profile(backend="custom", versions=(), memory_model=MemoryModel.FIXED, rules="fixed", runs_declared=True)

    def check(self, request: LaunchRequest) -> Sequence[Finding]:
        """Return what speaks against launching ``request``."""
        return tuple(_findings(request))

    def launch(self, request: LaunchRequest) -> Launch:
        """Return how to launch ``request``."""
        definition = _definition(request)
        values = _values(request, definition)
        command = tuple(render(part, values) for part in definition.command)
        entrypoint = tuple(render(part, values) for part in definition.entrypoint)
        if request.image and not definition.image:
            # Declared as a process: its program, and not the image's, is what runs.
            entrypoint, command = command[:1], command[1:]
        secrets = {definition.api_key_env: request.api_key} if definition.api_key_env and request.api_key else {}
        return Launch(
            argv=(*command, *_arguments(request)),
            env={name: render(value, values) for name, value in definition.env.items()},
            secrets=secrets,
            image=request.image,
            entrypoint=entrypoint,
            readiness=Probe(path=definition.health_path) if definition.health_path else None,
            start_timeout_seconds=definition.start_timeout_seconds,
            stop_grace_seconds=definition.stop_grace_seconds,
            container_port=definition.container_port if request.image else None,
        )


@hookimpl
def motorpool_register_backends(register: Callable[[BackendPlugin], None]) -> None:
    """Introduce what runs declared backends."""
    register(Custom())


def _findings(request: LaunchRequest) -> Iterator[Finding]:
    definition = request.definition
    if definition is None:
        message = "there is nothing declared to run; declare a backend with `motorpool backends apply -f FILE`"
        yield Finding(severity=Severity.ERROR, reason="DEFINITION_MISSING", message=message)
        return
    what = f"{definition.backend} {definition.version}"
    values = _values(request, definition)
    for name in names((*definition.entrypoint, *definition.command, *definition.env.values())):
        if name not in values:
            message = f"{what} uses {{{{{name}}}}}, which nobody gives; deploy with --env {name}=VALUE"
            yield Finding(severity=Severity.ERROR, reason="VARIABLE_MISSING", message=message)
    if not request.image and not definition.command:
        message = f"{what} names no command; correct its declaration"
        yield Finding(severity=Severity.ERROR, reason="COMMAND_MISSING", message=message)
    if request.image and not definition.health_path:
        message = f"{what} has no health_path, and a container needs one; declare it, or deploy without an image"
        yield Finding(severity=Severity.ERROR, reason="HEALTH_PATH_MISSING", message=message)


def _definition(request: LaunchRequest) -> Definition:
    if request.definition is None:
        raise LookupError("there is nothing declared to run")
    return request.definition


def _values(request: LaunchRequest, definition: Definition) -> dict[str, str]:
    """Return what templates may name: what the node knows before what the deployment sets, before the version's own."""
    devices = len(request.device_ids)
    own = {name: value for name, value in definition.env.items() if not names([value])}
    inside = definition.container_port if request.image else None
    return {
        **own,
        **request.env,
        "port": str(inside or request.port),
        "model_path": str(request.model_path),
        "model_name": request.served_model_name,
        "node_ip": request.listen_address,
        "gpu_count": str(devices),
        # As the engine sees them: it is shown the claimed ones only, and counts them from 0.
        "gpu_ids": ",".join(str(number) for number in range(devices)),
    }


def _arguments(request: LaunchRequest) -> Iterator[str]:
    for parameter in request.parameters:
        yield f"--{parameter.option}" if parameter.known else parameter.option
        yield from parameter.values
