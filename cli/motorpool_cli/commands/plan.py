"""check and plan: what would become of a deployment, without making it."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import grpc
import typer

from motorpool import v1
from motorpool_cli import failures, placements, text
from motorpool_cli import wishes as wishfiles
from motorpool_cli.client import TIMEOUT_SECONDS, Client
from motorpool_cli.commands import wish
from motorpool_cli.commands.explain import (
    print_candidates,
    print_placement,
    print_refusals,
    print_seen,
    print_suggestions,
)
from motorpool_cli.context import Output, client, complete_deployment, complete_node
from motorpool_cli.failures import Exit
from motorpool_cli.output import Format, errors, note, plain, print_document, print_facts, print_table, say
from motorpool_cli.sources import complete_source, source_of, words
from motorpool_cli.wishes import Wish

READ_SECONDS = 180.0

MOST_IN_FULL = 2
"""Instances with a place that are printed with all their candidates; of more, the first."""

_QUESTIONS = {
    v1.CHECK_KIND_BACKEND: "does the backend run here",
    v1.CHECK_KIND_MODEL: "does it run this model",
    v1.CHECK_KIND_PLACE: "is there room",
}
_WORDS = {v1.CHECK_OUTCOME_PASSED: "yes", v1.CHECK_OUTCOME_FAILED: "no", v1.CHECK_OUTCOME_SKIPPED: "not checked"}


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the application."""
    app.command("check")(check)
    app.command("plan")(plan)


def check(
    source: Annotated[str, typer.Argument(help=wish.SOURCE_HELP, autocompletion=complete_source)],
    parameters: wish.Parameters = None,
    backend: wish.Backend = "",
    backend_version: wish.BackendVersion = "",
    image: wish.Image = None,
    category: wish.Categories = None,
    replicas: wish.Replicas = 1,
    env: wish.Env = None,
    label: wish.Labels = None,
    device: wish.Devices = None,
    strategy: wish.Strategy = wish.StrategyName.SPREAD,
    memory: wish.Memory = "",
    device_memory: wish.DeviceMemory = "",
    lora: wish.Lora = None,
    speculative: wish.Speculative = "",
    draft_model: wish.DraftModel = "",
    draft_tokens: wish.DraftTokens = None,
    output: Output = Format.TABLE,
) -> None:
    """Check whether a model would run: backend, model and room. Exits with 1 if it would not."""
    with client(output) as connected:
        spec = wish.spec(
            source_of("SOURCE", source),
            parameters=parameters,
            backend=backend,
            backend_version=backend_version,
            image=image,
            categories=category,
            replicas=replicas,
            env=env,
            labels=label,
            devices=device,
            strategy=strategy,
            memory=memory,
            device_memory=device_memory,
            lora=lora,
            speculative=speculative,
            draft_model=draft_model,
            draft_tokens=draft_tokens,
        )
        found = planned(connected, v1.PlanDeploymentRequest(deployment=v1.Deployment(spec=spec)), output)
        if output is Format.TABLE:
            print_checked(found, spec)
        else:
            print_document(plain(found), output)
    if any(each.outcome == v1.CHECK_OUTCOME_FAILED for each in found.checks):
        raise typer.Exit(Exit.FAILED)


def plan(
    deployment: Annotated[
        str | None, typer.Argument(help="Name of a deployment.", autocompletion=complete_deployment)
    ] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option(
            "--file",
            "-f",
            help="YAML or JSON with deployments, as `motorpool deployments -o yaml` prints them; - reads standard"
            " input. Several are placed one after the other.",
        ),
    ] = None,
    replicas: Annotated[
        int | None, typer.Option(min=0, max=1000, help="Instances to plan for instead of those wished for.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="Think instances/INSTANCE or nodes/NODE away; may be repeated.")
    ] = None,
    add_node: Annotated[
        list[str] | None,
        typer.Option(
            help="Think nodes into the fleet, NODE[=COUNT][,devices=N][,device-memory=SIZE][,memory=SIZE]: like that"
            " one but for what is said, with all memory free; may be repeated.",
            autocompletion=complete_node,
        ),
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Plan a deployment, or those of files, without changing anything: on the fleet as it is, or as it would be."""
    if (deployment is None) == (not file):
        raise typer.BadParameter("Give the name of a deployment, or files with --file.")
    with client(output) as connected:
        wishes = wishfiles.read(file or ())
        if deployment is not None:
            name = text.full("deployments", deployment)
            request = v1.GetDeploymentRequest(name=name)
            spec = connected.deployments.GetDeployment(request, timeout=TIMEOUT_SECONDS).spec
            deployments = [v1.Deployment(name=name, spec=spec)]
        else:
            deployments = [wish.deployment for wish in wishes]
        for each in deployments if replicas is not None else ():
            each.spec.replicas = replicas or 0
        gone = [_gone(connected, each) for each in without or ()]
        found = _planned_all(connected, wishes, _supposing(deployments, gone, add_node), output)
    if output is not Format.TABLE:
        print_document(plain(found) if file else plain(found.plans[0]), output)
        return
    for number, (each, plan_of) in enumerate(zip(deployments, found.plans, strict=True)):
        if number:
            say()
        if len(deployments) > 1:
            say(text.bare(each.name) or f"deployment {number + 1}", style="bold")
        _print_plan(plan_of, each.spec)


def _supposing(
    deployments: Sequence[v1.Deployment], without: Sequence[str], add_node: list[str] | None
) -> v1.PlanDeploymentsRequest:
    return v1.PlanDeploymentsRequest(
        deployments=[v1.Deployment(name=each.name, spec=each.spec) for each in deployments],
        without=without,
        add_nodes=[_added(each) for each in add_node or ()],
    )


def _gone(connected: Client, name: str) -> str:
    """Return the full name of an instance, or of the node of this name where there is none."""
    if "/" in name:
        return name
    request = v1.GetInstanceRequest(name=text.full("instances", name))
    try:
        return connected.instances.GetInstance(request, timeout=TIMEOUT_SECONDS).name
    except grpc.RpcError as error:
        missing = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)
        if not (isinstance(error, grpc.Call) and error.code() in missing):
            raise
    return text.full("nodes", name)


def _planned_all(
    connected: Client, wishes: Sequence[Wish], request: v1.PlanDeploymentsRequest, output: Format
) -> v1.PlanDeploymentsResponse:
    try:
        with _waiting(output):
            return connected.deployments.PlanDeployments(request, timeout=READ_SECONDS)
    except grpc.RpcError as error:
        problems = [
            wishes[number].problem(field, message)
            for path, message in failures.violations(error)
            for number, field in [_part(path)]
            if number is not None and number < len(wishes)
        ]
        if not problems:
            raise
        raise wishfiles.invalid(Exit.INVALID, problems) from None


def _part(path: str) -> tuple[int | None, str]:
    """Return which of the deployments a field is of, and what it is called there."""
    found = re.fullmatch(r"deployments\[(\d+)\](?:\.(.*))?", path)
    return (int(found[1]), found[2] or "") if found else (None, path)


def _print_plan(found: v1.PlanDeploymentResponse, spec: v1.DeploymentSpec) -> None:
    _print_head(found, spec)
    _print_instances(found.instances)
    print_suggestions(found.suggestions)
    _print_findings(found)
    print_seen(found)


def _waiting(output: Format) -> contextlib.AbstractContextManager[object]:
    if output is not Format.TABLE or not errors.is_terminal:
        return contextlib.nullcontext()
    return errors.status("the model's headers are read")


def planned(connected: Client, request: v1.PlanDeploymentRequest, output: Format) -> v1.PlanDeploymentResponse:
    """Return what would become of a deployment, and say meanwhile what it waits for."""
    with _waiting(output):
        return connected.deployments.PlanDeployment(request, timeout=READ_SECONDS)


def print_checked(found: v1.PlanDeploymentResponse, spec: v1.DeploymentSpec) -> None:
    """Print the three verdicts, and what belongs to them."""
    _print_head(found, spec)
    _print_checks(found.checks)
    print_suggestions(found.suggestions)
    _print_findings(found)


def _added(value: str) -> v1.AddedNodes:
    head, *changes = value.split(",")
    node, equals, count = head.partition("=")
    if not node or (equals and not count.isdigit()):
        raise typer.BadParameter(f"--add-node {value} does not begin with NODE or NODE=COUNT; write e.g. rack1=2.")
    added = v1.AddedNodes(like=text.full("nodes", node), count=int(count[:9]) if equals else 1)
    for change in changes:
        name, _, given = change.partition("=")
        if name == "devices" and given.isdigit():
            added.devices = int(given[:9])
        elif name == "device-memory":
            added.device_memory_bytes = text.parse_size("--add-node device-memory", given)
        elif name == "memory":
            added.memory_bytes = text.parse_size("--add-node memory", given)
        else:
            raise typer.BadParameter(
                f"--add-node {value}: {change!r} is none of devices=N, device-memory=SIZE, memory=SIZE; write e.g."
                " rack1=2,devices=8,device-memory=141GiB."
            )
    return added


def _print_head(found: v1.PlanDeploymentResponse, spec: v1.DeploymentSpec) -> None:
    estimate = found.estimate
    needs = text.size(estimate.upper_bytes) if estimate.HasField("upper_bytes") else "unknown"
    facts = found.facts
    print_facts(
        [
            ("Model", words(spec.model)),
            ("Which is", " ".join(part for part in (facts.display_name, facts.format, facts.quantization) if part)),
            ("Backend", found.backend),
            ("Needs", f"{needs}: {estimate.provenance}" if estimate.provenance else ""),
        ]
    )


def _print_instances(instances: Sequence[v1.PlannedInstance]) -> None:
    """Print what becomes of each instance; where many have a place, the first in full, and how many more are where."""
    placed = [each for each in instances if each.HasField("placement")]
    full = len(placed) if len(placed) <= MOST_IN_FULL else 1
    for instance in placed[:full]:
        _print_instance(instance)
    if placed[full:]:
        _print_more(placed[full:])
    for instance in instances:
        if not instance.HasField("placement"):
            _print_instance(instance)


def _print_instance(instance: v1.PlannedInstance) -> None:
    say()
    say(f"{_count(instance.count)}: {instance.verdict}", style="bold")
    print_placement(instance.placement)
    print_refusals(instance.refusals)
    print_candidates(instance.candidates)


def _print_more(instances: Sequence[v1.PlannedInstance]) -> None:
    where = Counter(placements.where(each.placement) for each in instances)
    say()
    say(f"{len(instances)} more have a place:", style="bold")
    print_table(("INSTANCES", "ON"), ((str(count), on) for on, count in where.items()), empty="")


def _print_checks(checks: Sequence[v1.Check]) -> None:
    say()
    print_table(
        ("CHECK", "VERDICT", "WHY"),
        ((_QUESTIONS.get(each.kind, "?"), _WORDS.get(each.outcome, "?"), each.message) for each in checks),
        empty="",
    )
    for each in checks:
        if each.refusals:
            say()
            say(f"{_QUESTIONS.get(each.kind, '?')}: {_WORDS.get(each.outcome, '?')}", style="bold")
            print_refusals(each.refusals)


def _print_findings(found: v1.PlanDeploymentResponse) -> None:
    for finding in found.findings:
        note(f"note: {finding}")


def _count(count: int) -> str:
    return "1 instance" if count == 1 else f"{count} instances"
