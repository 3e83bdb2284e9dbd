"""What the launch policy says of an assignment, and of what comes of it: whoever asked, and whatever a plugin made."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from motorpool_agent.policy import DeniedError, Policy, PolicyError
from motorpool_agent.policy.images import check_image
from motorpool_agent.policy.places import check_device, check_place, check_program
from motorpool_agent.policy.requests import check_environment, check_name, check_option, check_values
from motorpool_agent.reconcile.assignment import Assignment
from motorpool_agent.reconcile.handle import LaunchRecord
from motorpool_agent.runtime.errors import LaunchError
from motorpool_agent.runtime.modelpaths import companion_paths
from motorpool_formats import ModelFacts
from motorpool_formats.errors import FormatError
from motorpool_formats.places import place_of
from motorpool_sdk.backend import Profile, Version

_REMOTE_CODE = "trust-remote-code"


class DeniedModelError(FormatError):
    """The policy keeps a model's headers from being read: what a controller is told of files is in its bounds, too."""

    reason = "POLICY_DENIED"


def current(read: Callable[[], Policy]) -> Policy:
    """Return the policy as it stands now; raise ``LaunchError`` if its file cannot be followed."""
    try:
        return read()
    except PolicyError as error:
        raise LaunchError("POLICY_INVALID", f"{error}; nothing is launched before that") from error


def reader(
    policy: Callable[[], Policy], own: Iterable[Path], read: Callable[[Path], ModelFacts]
) -> Callable[[Path], ModelFacts]:
    """Return a reader of models' headers that raises ``DeniedModelError`` for what would not be launched."""
    folders = tuple(own)

    def permitted(path: Path) -> ModelFacts:
        place, _ = place_of(path)
        try:
            allowed = policy()
            for each in (place, *(place.iterdir() if place.is_dir() else ())):
                check_place(allowed, each, "the model's file", folders)
        except DeniedError as error:
            what, _, todo = error.message.partition("; ")
            raise DeniedModelError(str(path), what, todo or "deploy another") from error
        except PolicyError as error:
            raise DeniedModelError(str(path), str(error), "nothing is read before that") from error
        return read(path)

    return permitted


def wish(policy: Policy, assignment: Assignment) -> None:
    """Raise ``LaunchError`` for what no engine is told, as far as that shows without its plugin."""
    definition = assignment.definition
    stated = [*assignment.env.items()]
    if definition is not None:
        stated += [*definition.env.items(), *([(definition.api_key_env, "")] if definition.api_key_env else [])]
    with _denials():
        check_environment(policy, stated)
        check_name(assignment.served_model_name, "the model's name")
        for adapter in assignment.adapters:
            check_name(adapter.name, "the adapter's name")
        if not policy.remote_code and _remote_code(assignment):
            raise DeniedError(
                "the deployment has the model's own code run (trust_remote_code), and this node does not; deploy "
                f"without it, or write remote_code = true into {policy.source}"
            )


def parameters(policy: Policy, assignment: Assignment, profile: Profile | None, folder: Path | None) -> None:
    """Raise ``LaunchError`` for a parameter that would set what is not the deployment's to set.

    ``folder`` is where the engine runs, None in a container. What declared backends take nobody knows but those who
    declared them: of theirs the values are looked at.
    """
    options = () if profile is None else profile.options
    owned = {each: option.name for option in options if option.system_owned for each in (option.name, *option.aliases)}
    known = {each for option in options if not option.system_owned for each in (option.name, *option.aliases)}
    with _denials():
        for given in assignment.parameters:
            check_option(policy, assignment.title, given.option, owned, known)
            check_values(policy, given.option, given.values, folder=folder, own=_beside(assignment))


def files(policy: Policy, assignment: Assignment, path: Path, own: Iterable[Path]) -> None:
    """Raise ``LaunchError`` if the model, a file in its folder, or what is loaded with it lies outside the roots."""
    try:
        beside = [*path.iterdir()] if path.is_dir() else []
    except OSError as error:
        raise LaunchError("MODEL_UNREADABLE", f"{path} cannot be read: {error.strerror}") from error
    with _denials():
        for each in (path, *beside, *companion_paths(assignment, path)):
            check_place(policy, each, "the model's file", own)


def launch(
    policy: Policy, assignment: Assignment, record: LaunchRecord, version: Version, directory: Path, own: Iterable[Path]
) -> None:
    """Raise ``LaunchError`` if a launch's program or image, its mounts or its devices are outside the policy.

    ``own`` are the folders of engines that this agent made, and of models that it fetched.
    """
    container, folders = record.container, [*own]
    with _denials():
        if container is None:
            program = shutil.which(record.argv[0], path=record.environment.get("PATH", os.defpath)) or record.argv[0]
            # A plugin names the programs that it found on this machine; other words are the controller's.
            told = assignment.definition is not None or assignment.command or not version.executable
            if told or Path(program).parent != Path(version.executable).parent:
                check_program(policy, program, assignment.title, folders)
            nodes = (record.unit and record.unit.device_nodes) or ()
        else:
            check_image(policy, container.image, assignment.title, host_network=container.host_network)
            for source in container.mounts.values():
                check_place(policy, Path(source), "the mounted path", (directory, *folders))
            nodes = container.device_nodes
        for node in nodes:
            check_device(policy, node)


def _remote_code(assignment: Assignment) -> bool:
    return assignment.trust_remote_code or any(
        given.option.lstrip("-").replace("_", "-").partition("=")[0] == _REMOTE_CODE for given in assignment.parameters
    )


def _beside(assignment: Assignment) -> Iterator[Path]:
    """Yield the model itself, which was looked at before: its parts may be named in parameters."""
    path = Path(assignment.model.path)
    if assignment.model.path and path.is_absolute():
        yield path


@contextmanager
def _denials() -> Iterator[None]:
    try:
        yield
    except DeniedError as error:
        raise LaunchError("POLICY_DENIED", error.message, final=error.final) from error
