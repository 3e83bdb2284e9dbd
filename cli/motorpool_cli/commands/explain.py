"""explain: why a deployment's instances are where they are, or nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from motorpool import v1
from motorpool_cli import estimates, placements, text
from motorpool_cli.client import TIMEOUT_SECONDS
from motorpool_cli.context import Output, client, complete_deployment
from motorpool_cli.output import Format, note, plain, print_document, print_facts, print_table, say

MOST_NAMED = 3


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the application."""
    app.command("explain")(explain)


def explain(
    deployment: Annotated[str, typer.Argument(help="Name of the deployment.", autocompletion=complete_deployment)],
    output: Output = Format.TABLE,
) -> None:
    """Say why instances are where they are, or nowhere, and who holds what they would need."""
    with client(output) as connected:
        found = connected.deployments.ExplainDeployment(
            v1.ExplainDeploymentRequest(name=text.full("deployments", deployment)), timeout=TIMEOUT_SECONDS
        )
    if output is not Format.TABLE:
        print_document(plain(found), output)
        return
    estimate = found.estimate
    if estimate.HasField("upper_bytes"):
        say(f"An instance needs {text.size(estimate.upper_bytes)}: {estimate.provenance}")
        for what, words in (("Itemised", estimates.items(estimate)), ("Measured", estimates.measured(estimate))):
            if words:
                say(f"{what}: {words}")
    elif estimate.provenance:
        say(f"What an instance needs is unknown: {estimate.provenance}")
    for instance in found.instances:
        if not instance.like:
            _print(instance)
    _print_alike([instance for instance in found.instances if instance.like])
    if not found.instances:
        say(f"{deployment} wishes for no instances.")
    print_suggestions(found.suggestions)
    print_seen(found)


def _print(instance: v1.InstanceExplanation) -> None:
    state = text.word(v1.InstanceState, instance.state)
    say()
    say(f"{text.bare(instance.instance)} {state}: {instance.verdict}", style="bold")
    print_placement(instance.placement)
    print_refusals(instance.refusals)
    print_candidates(instance.candidates)


def _print_alike(instances: Sequence[v1.InstanceExplanation]) -> None:
    """Print which instances fit nowhere for the reasons of another."""
    if instances:
        names = ", ".join(text.bare(instance.instance) for instance in instances[:MOST_NAMED])
        more = f" and {len(instances) - MOST_NAMED:,} more" if len(instances) > MOST_NAMED else ""
        say()
        say(f"{names}{more} wait for the reasons of {text.bare(instances[0].like)}.", style="bold")


def print_placement(placement: v1.Placement) -> None:
    """Print where something runs, and what the placement decided, if it has one."""
    if placement.members:
        print_facts((("Placed on", placements.where(placement)), ("Decided", placements.decided(placement))))


def print_refusals(refusals: Sequence[v1.Refusal]) -> None:
    """Print rows of why not, if there are any."""
    if refusals:
        print_table(
            ("STAGE", "REASON", "SUBJECT", "NEEDED", "AVAILABLE", "HELD BY", "WHY"),
            (_refusal(refusal) for refusal in refusals),
            empty="",
        )


def print_suggestions(suggestions: Sequence[v1.Suggestion]) -> None:
    """Print what would make a deployment fit, if anything is known that would."""
    if suggestions:
        say()
        say("What would make it fit", style="bold")
    for suggestion in suggestions:
        say(f"- {suggestion.message}")


def print_seen(found: v1.ExplainDeploymentResponse | v1.PlanDeploymentResponse) -> None:
    """Say how many nodes were looked at, and how long it took, if the controller tells."""
    if found.nodes_seen:
        nodes = "1 node was" if found.nodes_seen == 1 else f"{found.nodes_seen:,} nodes were"
        note(f"{nodes} looked at in {found.decision_time.ToNanoseconds() / 1e6:.1f} ms")


def print_candidates(candidates: Sequence[v1.Candidate]) -> None:
    """Print where it is feasible, if anywhere."""
    if candidates:
        print_table(
            ("FEASIBLE ON", "SCORE", "MADE OF"),
            (
                (
                    placements.where(candidate.placement) or text.bare(candidate.node),
                    f"{candidate.score:.1f}",
                    ", ".join(f"{scorer} {score:.1f}" for scorer, score in sorted(candidate.scores.items())),
                )
                for candidate in candidates
            ),
            empty="",
        )


def _refusal(refusal: v1.Refusal) -> tuple[str, ...]:
    more = f" (+{refusal.count - 1} more)" if refusal.count > 1 else ""
    counted = text.size if "memory" in refusal.resource else str
    return (
        refusal.stage,
        refusal.reason,
        refusal.subject + more,
        counted(refusal.needed) if refusal.HasField("needed") else text.UNKNOWN,
        counted(refusal.available) if refusal.HasField("available") else text.UNKNOWN,
        ", ".join(refusal.holders) or text.UNKNOWN,
        refusal.message,
    )
