"""backends: what there is to serve models with, and declaring more of it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import grpc
import typer

from motorpool import v1
from motorpool_cli import declarations, failures, text
from motorpool_cli.client import TIMEOUT_SECONDS, Client
from motorpool_cli.commands import workloads
from motorpool_cli.context import Output, client, complete_backend, complete_declared
from motorpool_cli.declarations import Declared
from motorpool_cli.documents import Problem
from motorpool_cli.failures import Exit
from motorpool_cli.lists import list_backends, list_deployments, list_instances
from motorpool_cli.output import Format, note, plain, print_document, print_facts, print_table, say

Backend = Annotated[str, typer.Argument(help="Name of the backend, or an alias.", autocompletion=complete_backend)]
DeclaredOne = Annotated[str, typer.Argument(help="Name of a declared backend.", autocompletion=complete_declared)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check only; nothing is changed.")]
Files = Annotated[list[Path], typer.Option("--file", "-f", help="YAML file with backends; - reads standard input.")]
SHOWN = 5


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the application."""
    group = typer.Typer(help="List backends; declare, describe and delete them.")
    group.callback(invoke_without_command=True)(backends)
    group.command("apply")(apply)
    group.command("describe")(describe)
    group.command("delete")(delete)
    app.add_typer(group, name="backends")


def backends(context: typer.Context, output: Output = Format.TABLE) -> None:
    """List the backends that nodes offer or that were declared; declare, describe and delete them."""
    if context.invoked_subcommand is not None:
        return
    with client(output) as connected:
        found = list_backends(connected)
    if output is not Format.TABLE:
        print_document({"backends": [plain(backend) for backend in found]}, output)
        return
    print_table(
        ("NAME", "ALIASES", "FROM", "VERSIONS", "FORMATS", "RUNS ON", "NODES"),
        (
            (
                text.bare(backend.name),
                ", ".join(backend.profile.aliases),
                _origin(backend),
                ", ".join(version.version for version in backend.profile.versions),
                _any(backend.profile.formats),
                ", ".join(sorted({f for version in backend.profile.versions for f in version.frameworks})),
                ", ".join(text.bare(node) for node in backend.nodes),
            )
            for backend in found
        ),
        empty="No backends. Install a backend's plugin beside an agent, e.g. motorpool-llama-cpp, and restart the "
        "agent; or declare one with `motorpool backends apply -f FILE`.",
    )


def apply(file: Files, dry_run: DryRun = False, output: Output = Format.TABLE) -> None:
    """Declare backends, or change their declarations, as YAML files say (admin)."""
    with client(output) as connected:
        declared = declarations.read(file)
        before = {backend.name: backend for backend in list_backends(connected)}
        _check(connected, declared)
        applied = [_send(connected, each, validate_only=dry_run) for each in declared]
        again = [backend for backend in applied if _launches_otherwise(before.get(backend.name), backend)]
        standing = _standing(connected, again) if again and not dry_run and output is Format.TABLE else []
    if output is not Format.TABLE:
        print_document({"backends": [plain(backend) for backend in applied]}, output)
        return
    for backend in applied:
        say(f"{backend.name} {_became(before.get(backend.name), backend, dry_run=dry_run)}")
    if not all(backend.nodes for backend in applied):
        note("note: no node runs declared backends yet; install motorpool-custom beside an agent, and restart it")
    if standing:
        some = [f"  motorpool scale {text.bare(each.name)} --replicas 0 && {_scale_back(each)}" for each in standing]
        more = [f"  and {len(some) - SHOWN} more"] if len(some) > SHOWN else []
        note("\n".join(["note: to launch what stands as declared now, stop and start it:", *some[:SHOWN], *more]))


def describe(name: Backend, output: Output = Format.TABLE) -> None:
    """Show everything about one backend: its versions, and what runs each of them."""
    with client(output) as connected:
        request = v1.GetBackendRequest(name=text.full("backends", name))
        found = connected.backends.GetBackend(request, timeout=TIMEOUT_SECONDS)
        users = _standing(connected, [found]) if output is Format.TABLE else []
    if output is not Format.TABLE:
        print_document(plain(found), output)
        return
    _print_backend(found, users)
    say()
    commands = {version.version: version for version in found.declaration.versions}
    print_table(
        ("VERSION", "EXECUTOR", "RUNS ON", "OS", "ARCHITECTURES", "RUNS"),
        (
            (
                version.version,
                ", ".join(version.executors),
                ", ".join(version.frameworks),
                _any(version.operating_systems),
                _any(version.architectures),
                _runs(version, commands.get(version.version)),
            )
            for version in found.profile.versions
        ),
        empty="No versions.",
    )


def delete(name: DeclaredOne, dry_run: DryRun = False, output: Output = Format.TABLE) -> None:
    """Forget a declared backend that no deployment uses (admin)."""
    full = text.full("backends", name)
    with client(output) as connected:
        request = v1.DeleteBackendRequest(name=full, validate_only=dry_run, request_id=uuid.uuid4().hex)
        connected.backends.DeleteBackend(request, timeout=TIMEOUT_SECONDS)
    if output is not Format.TABLE:
        print_document({"deleted": full}, output)
    else:
        say(f"{full} {'would be forgotten' if dry_run else 'is forgotten'}")


def _check(connected: Client, declared: Sequence[Declared]) -> None:
    """Have the controller check everything before anything is changed, and tell all that it finds wrong."""
    problems: list[Problem] = []
    for each in declared:
        try:
            _send(connected, each, validate_only=True)
        except grpc.RpcError as error:
            found = failures.violations(error)
            if not found:
                raise
            problems += [each.problem(field, message) for field, message in found]
    if problems:
        raise declarations.invalid(Exit.INVALID, problems, "nothing was changed")


def _send(connected: Client, declared: Declared, *, validate_only: bool) -> v1.Backend:
    request = v1.UpdateBackendRequest(
        backend=declared.backend,
        allow_missing=True,
        validate_only=validate_only,
        request_id="" if validate_only else uuid.uuid4().hex,
    )
    return connected.backends.UpdateBackend(request, timeout=TIMEOUT_SECONDS)


def _launches_otherwise(before: v1.Backend | None, after: v1.Backend) -> bool:
    """Return whether what is launched from now on differs from what was launched until now."""
    if before is None or not before.HasField("declaration"):
        return False
    one, other = (
        (list(made.versions), made.health_path, made.api_key_env, made.start_timeout, made.stop_grace)
        for made in (before.declaration, after.declaration)
    )
    return one != other


def _standing(connected: Client, backends: Sequence[v1.Backend]) -> list[v1.Deployment]:
    """Return the deployments with an instance that was placed on one of the backends."""
    names = {text.bare(backend.name) for backend in backends}
    placed = {each.deployment for each in list_instances(connected) if each.placement.backend in names}
    return [each for each in list_deployments(connected) if each.name in placed and workloads.wished(each)]


def _scale_back(deployment: v1.Deployment) -> str:
    return f"motorpool scale {text.bare(deployment.name)} --replicas {workloads.wished(deployment)}"


def _became(before: v1.Backend | None, after: v1.Backend, *, dry_run: bool) -> str:
    versions = ", ".join(version.version for version in after.declaration.versions)
    if before is None or not before.HasField("declaration"):
        return f"{'would be' if dry_run else 'is'} declared: {versions}"
    if before.declaration == after.declaration:
        return "is as declared before"
    running = "instances that stand keep what they were launched with"
    return f"{'would be' if dry_run else 'is'} changed: {versions}; {running}"


def _print_backend(backend: v1.Backend, users: Sequence[v1.Deployment]) -> None:
    profile, declaration = backend.profile, backend.declaration
    print_facts(
        (
            ("Backend", text.bare(backend.name)),
            ("Description", declaration.description),
            ("Aliases", ", ".join(profile.aliases)),
            ("From", _origin(backend)),
            ("Changed", text.clock(backend.update_time)),
            ("Nodes", ", ".join(text.bare(node) for node in backend.nodes) or "none"),
            ("Runs now", ", ".join(text.bare(deployment.name) for deployment in users) or "nothing"),
            ("Formats", _any(profile.formats)),
            ("Categories", _any(profile.categories)),
            ("Memory", text.word(v1.MemoryModel, profile.memory_model).lower()),
            ("Claims", _claim(declaration) if backend.HasField("declaration") else ""),
            ("API key", _key(backend)),
            ("Health", profile.health_path or "its port accepts"),
            ("Metrics", profile.metrics_path),
            ("Start within", f"{profile.start_timeout.seconds} s"),
            ("Stop within", f"{profile.stop_grace.seconds} s"),
            ("Options known", str(len(profile.options)) if profile.options else ""),
            ("Set by Motorpool", ", ".join(option.option for option in profile.options if option.system_owned)),
        )
    )


def _origin(backend: v1.Backend) -> str:
    return "declared" if backend.HasField("declaration") else "plugin"


def _any(words: Sequence[str]) -> str:
    return ", ".join(words) or "any"


def _claim(declaration: v1.BackendDeclaration) -> str:
    claim = declaration.claim
    parts = [
        f"{text.size(count)} of {what}"
        for what, known, count in (
            ("host memory", claim.HasField("memory_bytes"), claim.memory_bytes),
            ("device memory", claim.HasField("device_memory_bytes"), claim.device_memory_bytes),
        )
        if known
    ]
    return " and ".join(parts) or "what each deployment gives"


def _key(backend: v1.Backend) -> str:
    if not backend.profile.api_key:
        return "not checked"
    return f"in {backend.declaration.api_key_env}" if backend.declaration.api_key_env else "checked"


def _runs(version: v1.BackendVersion, declared: v1.DeclaredVersion | None) -> str:
    if declared is not None:
        return " ".join(text.quoted(word) for word in (declared.image, *declared.entrypoint, *declared.command) if word)
    if version.image:
        return version.image
    return version.executable or ", ".join(version.environment.requirements)
