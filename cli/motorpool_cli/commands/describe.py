"""describe: everything about one deployment, instance or node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import grpc
import typer

from motorpool import v1
from motorpool_cli import conditions, estimates, maintenance, placements, sources, text, transfers
from motorpool_cli.attempts import print_attempts
from motorpool_cli.client import Client
from motorpool_cli.commands import workloads
from motorpool_cli.commands.events import print_events
from motorpool_cli.context import Output, client, complete_any
from motorpool_cli.failures import CommandError, Exit
from motorpool_cli.lists import list_events, list_instances
from motorpool_cli.named import GETTERS, Named
from motorpool_cli.output import Format, plain, print_document, print_facts, say
from motorpool_cli.secrets import mask_spec, without_secrets

DESCRIBED = ("deployments", "instances", "nodes")
"""Where a bare name is looked for, in this order."""


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the application."""
    app.command("describe")(describe)


def describe(
    name: Annotated[
        str,
        typer.Argument(
            help="A deployment, instance or node; `nodes/NAME` where names clash.",
            autocompletion=complete_any,
        ),
    ],
    output: Output = Format.TABLE,
) -> None:
    """Show everything about one deployment, instance or node, with its latest events."""
    with client(output) as connected:
        found = _find(connected, name)
        events = list_events(connected, found.name, limit=10)
        instances = list_instances(connected, found.name) if isinstance(found, v1.Deployment) else []
        if output is not Format.TABLE:
            if isinstance(found, v1.Deployment):
                mask_spec(found.spec)
            theirs = {"instances": [plain(each) for each in instances]} if isinstance(found, v1.Deployment) else {}
            print_document({**plain(found), **theirs, "events": [plain(event) for event in events]}, output)
            return
        if isinstance(found, v1.Deployment):
            _print_deployment(found, instances)
            for instance in instances:
                say()
                _print_instance(instance)
        elif isinstance(found, v1.Instance):
            _print_instance(found)
        elif isinstance(found, v1.Node):
            _print_node(found)
        if events:
            say()
            say("Events", style="bold")
            print_events(events)


def _find(connected: Client, name: str) -> Named:
    collection = name.partition("/")[0]
    if collection in DESCRIBED and "/" in name:
        return GETTERS[collection](connected, name)
    for collection in DESCRIBED:
        try:
            return GETTERS[collection](connected, text.full(collection, name))
        except grpc.RpcError as error:
            missing = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)
            if not (isinstance(error, grpc.Call) and error.code() in missing):
                raise
    raise CommandError(
        Exit.NOT_FOUND,
        "NOT_FOUND",
        f"No deployment, instance or node is called {name}; `motorpool deployments`, `motorpool ps` and `motorpool "
        "nodes` list what there is.",
    )


def _print_deployment(deployment: v1.Deployment, instances: Sequence[v1.Instance]) -> None:
    facts, spec = deployment.facts, deployment.spec
    print_facts(
        (
            ("Deployment", text.bare(deployment.name)),
            ("State", text.word(v1.DeploymentState, deployment.state)),
            ("Running", f"{deployment.running_replicas} of {workloads.wished(deployment)}"),
            ("Model", sources.words(spec.model)),
            (
                "Format",
                " ".join(word for word in (facts.format, facts.architecture, facts.quantization) if word),
            ),
            ("Context", f"{facts.context_length} tokens" if facts.HasField("context_length") else ""),
            ("Weights", text.size(facts.weight_bytes if facts.HasField("weight_bytes") else None)),
            (
                "Backend",
                " ".join(word for word in (spec.backend or "automatic", spec.backend_version) if word),
            ),
            ("Executor", _executors(spec, instances)),
            ("Image", spec.image),
            ("Parameters", " ".join(without_secrets(spec.parameters))),
            ("Needs", estimates.summary(deployment.estimate)),
            ("Itemised", estimates.items(deployment.estimate)),
            ("Measured", estimates.measured(deployment.estimate)),
            ("Exposure", text.word(v1.Exposure, spec.exposure or v1.EXPOSURE_NODE).lower()),
            ("Rescheduled", _reschedule_after(spec)),
            ("Generation", str(deployment.generation)),
            ("Revision", str(deployment.revision) if deployment.revision else ""),
            ("Rollout", _rollout(deployment)),
            ("Created", text.clock(deployment.create_time)),
            ("Deleting since", text.clock(deployment.delete_time)),
            *(("Note", finding) for finding in deployment.findings),
        )
    )


def _rollout(deployment: v1.Deployment) -> str:
    """Return how far the latest change of the spec has come, empty where there was none or it is done."""
    rollout = deployment.rollout
    if rollout.state in {v1.ROLLOUT_STATE_UNSPECIFIED, v1.ROLLOUT_STATE_COMPLETE}:
        return ""
    done = f"{rollout.ready_replicas} of {workloads.wished(deployment)} ready"
    left = f", {rollout.outdated_replicas} of former revisions" if rollout.outdated_replicas else ""
    why = f": {rollout.message}" if rollout.message else ""
    return f"{text.word(v1.RolloutState, rollout.state)}, {done}{left}{why}"


def _reschedule_after(spec: v1.DeploymentSpec) -> str:
    if not spec.HasField("reschedule_after"):
        return ""
    seconds = spec.reschedule_after.ToNanoseconds() / 1e9
    return "never, while a node is lost" if seconds < 0 else f"{text.length(seconds)} after its node is lost"


def _executors(spec: v1.DeploymentSpec, instances: Sequence[v1.Instance]) -> str:
    """Return what its instances are executed by, and before there are any what is known: an image wants a container."""
    known = {instance.launch.executor for instance in instances} - {""}
    return ", ".join(sorted(known)) or ("docker" if spec.image else "")


def _backend(placement: v1.Placement) -> str:
    return f"{placement.backend} {placement.backend_version} on {placement.framework}".strip()


def _print_instance(instance: v1.Instance) -> None:
    launch = instance.launch
    print_facts(
        (
            ("Instance", text.bare(instance.name)),
            ("State", text.word(v1.InstanceState, instance.state)),
            ("Message", instance.state_message),
            ("Progress", transfers.words(instance)),
            ("Drain", maintenance.replaced(instance.drain) if instance.HasField("drain") else ""),
            ("Node", ", ".join(text.bare(member.node) for member in instance.placement.members)),
            ("Backend", _backend(instance.placement) if instance.placement.members else ""),
            ("Claim", workloads.claim(instance)),
            ("Devices", _claimed_devices(instance)),
            ("Decided", placements.decided(instance.placement)),
            ("Endpoint", instance.endpoint),
            ("Process", _process(instance)),
            ("Executor", launch.executor),
            ("Image", launch.image),
            ("Command", " ".join(text.quoted(word) for word in launch.argv)),
            ("Environment", " ".join(f"{key}={value}" for key, value in sorted(launch.env.items()))),
            ("Ports", _ports(launch.ports)),
            *(("Member", _member(member)) for member in instance.members),
            ("Revision", str(instance.deployment_revision) if instance.deployment_revision else ""),
            ("Restarts", str(instance.restart_count) if instance.restart_count else ""),
            ("Next try", text.clock(instance.next_try_time) if instance.HasField("next_try_time") else ""),
            *_failures(instance),
            *(("Refused", refusal.message) for refusal in instance.refusals),
            ("See", f"motorpool explain {text.bare(instance.deployment)}" if instance.refusals else ""),
        )
    )
    print_attempts(instance)


def _ports(ports: Iterable[v1.Port]) -> str:
    return ", ".join(f"{port.port_name} {port.number}" for port in ports)


def _member(member: v1.InstanceMember) -> str:
    """Return one node's part of an instance: what it does, its process and ports, and its command where it differs."""
    state = text.word(v1.InstanceState, member.state)
    facts = [f"pid {member.pid}"] if member.pid else []
    facts += [f"ports {_ports(member.ports)}"] if member.ports else []
    why = f": {member.state_message}" if member.state_message else ""
    line = f"{member.node} (rank {member.rank}): {state}{why}" + (f" ({'; '.join(facts)})" if facts else "")
    command = " ".join(text.quoted(word) for word in member.launch.argv)
    return f"{line}\n| {command}" if command and member.rank else line


def _claimed_devices(instance: v1.Instance) -> str:
    claims = [device for member in instance.placement.members for device in member.claim.devices]
    return ", ".join(f"{device.device_id} ({text.size(device.memory_bytes)})" for device in claims)


def _process(instance: v1.Instance) -> str:
    if not instance.pid:
        return ""
    adopted = ", adopted after a restart of the agent" if instance.adopted else ""
    return f"{instance.pid}, started {text.clock(instance.start_time)}{adopted}"


def _failures(instance: v1.Instance) -> Iterator[tuple[str, str]]:
    shown = [("First failure", instance.first_failure), ("Last failure", instance.last_failure)]
    if instance.first_failure == instance.last_failure:
        shown = shown[1:]
    for label, failure in shown:
        if failure.reason:
            shown_lines = [failure.evidence] if failure.evidence else failure.log_tail[-5:]
            tail = "".join(f"\n| {line}" for line in shown_lines)
            yield label, f"{text.clock(failure.time)} {failure.reason}: {failure.message}{tail}"


def _print_node(node: v1.Node) -> None:
    usage = node.usage
    print_facts(
        (
            ("Node", text.bare(node.name)),
            ("State", maintenance.state(node)),
            ("Message", node.state_message),
            ("Banned", maintenance.banned(node)),
            *(maintenance.facts("the node", node.cordon) if node.cordoned else ()),
            *(
                fact
                for device in node.devices
                if device.cordoned
                for fact in maintenance.facts(device.device_id, device.cordon)
            ),
            ("Address", node.address),
            ("Machine", f"{node.host.hostname}: {node.host.os}/{node.host.architecture}, {node.host.kernel}"),
            ("Processors", str(node.host.cpu_count) if node.host.cpu_count else ""),
            ("Memory", text.size(node.host.memory_bytes or None)),
            ("Reserved", text.size(node.reserved.memory_bytes) if node.reserved.memory_bytes else ""),
            ("Claimed", text.size(node.claimed_memory_bytes)),
            (
                "Available",
                text.size(usage.memory_available_bytes if usage.HasField("memory_available_bytes") else None),
            ),
            ("Busy", text.ratio(usage.cpu_ratio if usage.HasField("cpu_ratio") else None)),
            ("Labels", " ".join(f"{key}={value}" for key, value in sorted(node.labels.items()))),
            ("Devices", ", ".join(f"{device.device_id} {device.product}".strip() for device in node.devices)),
            *(("Outside use", said) for each in usage.devices for said in _strangers(each)),
            *(("Left over", f"{each.device_id}: {each.remains}") for each in usage.devices if each.remains),
            *(("Executor", _executor(executor)) for executor in node.executors),
            *(("Condition", conditions.words(each, usage)) for each in node.conditions),
            ("Agent", node.agent_version),
            ("Heartbeat", f"{text.age(node.heartbeat_time)} ago" if node.heartbeat_time.seconds else ""),
            ("Session", f"epoch {node.session_epoch}" if node.session_epoch else ""),
            *(("Plugin", _plugin(plugin, usage)) for plugin in node.plugins),
        )
    )


def _strangers(usage: v1.DeviceUsage) -> Iterator[str]:
    """Who holds a device's memory and is no instance that is placed there, as far as the vendor and the agent tell."""
    for each in usage.strangers:
        held = text.size(each.used_bytes) if each.HasField("used_bytes") else "some memory"
        whose = (each.program, f"user {each.user}" if each.user else "", each.control_group, each.instance)
        known = ", ".join(part for part in whose if part)
        yield f"{usage.device_id}: {held} by process {each.pid}{f' ({known})' if known else ''}"


def _plugin(plugin: v1.PluginStatus, usage: v1.NodeUsage) -> str:
    state = text.word(v1.PluginState, plugin.state)
    held = "".join(f" ({_held(each)})" for each in usage.plugins if each.plugin_id == plugin.plugin_id)
    return f"{plugin.plugin_id} {plugin.version}: {state}{held} {plugin.last_error}".strip()


def _held(usage: v1.PluginUsage) -> str:
    """What a plugin's process holds, as far as its agent tells."""
    held = [f"pid {usage.pid}"]
    if usage.HasField("resident_bytes"):
        held.append(text.size(usage.resident_bytes))
    if usage.HasField("open_files"):
        held.append(f"{usage.open_files} open files")
    if usage.HasField("sample_duration"):
        took = usage.sample_duration.seconds + usage.sample_duration.nanos / 1e9
        held.append(f"last measured in {took * 1000:.0f} ms")
    return ", ".join(held)


def _executor(status: v1.ExecutorStatus) -> str:
    state = "works" if status.works else "does not work"
    return f"{status.executor} {state}{': ' if status.message else ''}{status.message}"
