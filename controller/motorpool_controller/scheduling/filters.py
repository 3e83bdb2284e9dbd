"""Which nodes may run a request at all. Every removal is a row that says why, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from motorpool_controller.domain.backends import answers_to, misfit, own_profiles, runner_of, wanted_backend
from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.domain.fleet import BackendVersion, Device, Node, NodeState, Profile
from motorpool_controller.domain.maintenance import WHOLE, why_cordoned
from motorpool_controller.domain.names import device_of, shown
from motorpool_controller.domain.parameters import parse
from motorpool_controller.domain.pinning import on_hub
from motorpool_controller.domain.placement import Refusal
from motorpool_controller.domain.workload import DeploymentSpec
from motorpool_controller.estimation.needs import FIXED
from motorpool_controller.scheduling.companions import refused, unread
from motorpool_controller.scheduling.passing import Passing
from motorpool_controller.scheduling.rules.registry import RULES
from motorpool_controller.scheduling.runtimes import too_old, too_old_message
from motorpool_controller.scheduling.snapshot import Reading, Request, Snapshot
from motorpool_controller.scheduling.terms import CPU

PROCESS, SYSTEMD, DOCKER = "process", "systemd", "docker"

READABLE_BY_HAND = "MODEL_FORMAT_UNKNOWN"
"""The one answer about a path that a claim given by hand makes up for: something is there, and we cannot read it."""

ABSENT = frozenset({"MODEL_NOT_FOUND", "MODEL_UNREADABLE"})
"""Answers that keep a path from backends of any format too; what is in the file is their own business."""


def examined(passing: Passing, *, labels: bool = True) -> Refusal | None:
    """Send a node through the filters; return the row of the first that removes it, None where it passes.

    Without ``labels`` the answer holds for all nodes of its class.
    """
    for check in _FILTERS:
        if (labels or check is not _by_labels) and (row := check(passing)) is not None:
            return row
    return None


def refused_anywhere(snapshot: Snapshot, request: Request) -> tuple[Refusal, ...]:
    """Return the rows that hold whatever the node: wishes that cannot be served, and an empty cluster."""
    unserved = _unserved(request)
    if unserved is not None:
        return (unserved,)
    return () if snapshot.nodes else (_no_nodes(request),)


def _unserved(request: Request) -> Refusal | None:
    model = request.spec.model
    if not on_hub(model) or model.commit:
        return None
    return Refusal(
        stage="facts",
        reason="MODEL_NOT_READ_YET",
        subject=request.deployment,
        message=f"The controller has not read the headers of {model.repository}; what they say comes soon.",
    )


def _no_nodes(request: Request) -> Refusal:
    return Refusal(
        stage="nodes",
        reason="NO_NODES",
        subject=request.deployment,
        message="The cluster has no node: make a token with `motorpool-controller token`, and start an agent with it.",
    )


def unknown_pins(snapshot: Snapshot, spec: DeploymentSpec) -> list[Refusal]:
    """Return a row for each pinned device that does not exist (A12)."""
    rows = []
    for pin in sorted(spec.devices):
        node_name, device_id = device_of(pin)
        node = snapshot.nodes.get(node_name)
        if node is None or not pinned(node, {device_id}):
            missing = node_name if node is None else pin
            rows.append(
                Refusal(
                    stage="devices",
                    reason="DEVICE_UNKNOWN",
                    subject=pin,
                    message=f"{pin} is pinned, and {missing} does not exist; see `motorpool devices`.",
                )
            )
    return rows


def _by_pins(passing: Passing) -> Refusal | None:
    passing.devices = passing.node.devices
    if not passing.spec.devices:
        return None
    passing.devices = pinned(passing.node, pins_of(passing.spec, passing.node.name))
    if passing.devices:
        return None
    return passing.row(
        "devices", "NOT_PINNED", f"None of the pinned devices is on {passing.node.name}; pin one of its own to use it."
    )


def pins_of(spec: DeploymentSpec, node: str) -> set[str]:
    """Return what the spec pins on a node: ids of devices, or ``cuda:0`` and its like."""
    pins = {device_of(pin) for pin in spec.devices}
    return {device_id for name, device_id in pins if name == node}


def pinned(node: Node, wanted: set[str]) -> tuple[Device, ...]:
    """Return the devices of a node that are meant."""
    return tuple(
        device
        for device in node.devices
        if wanted & {device.device_id, f"{device.vendor}:{device.index}", f"{device.framework}:{device.index}"}
    )


def _by_labels(passing: Passing) -> Refusal | None:
    labels = passing.node.labels
    wrong = [
        f"{key}={value} (it has {key}={labels[key]})" if key in labels else f"{key}={value}"
        for key, value in sorted(passing.spec.match_labels.items())
        if labels.get(key) != value
    ]
    if not wrong:
        return None
    return passing.row(
        "labels",
        "LABELS_DIFFER",
        f"{passing.node.name} lacks {', '.join(wrong)}; label the node so, or ask for other labels.",
    )


def _by_state(passing: Passing) -> Refusal | None:
    node = passing.node
    if node.state is NodeState.READY and node.refused:
        return passing.row(
            "state",
            "DESIRED_REFUSED",
            f"The agent of {node.name} takes no orders of this controller ({node.refused}). Was the controller restored"
            " from an old copy, or the agent's data directory brought from another cluster?",
        )
    if node.state is NodeState.READY:
        return None
    if node.state is NodeState.SUSPECT:
        message = f"{node.name} missed its heartbeats; nothing new is placed there until it is heard from again."
        return passing.row("state", "NODE_SUSPECT", message)
    if node.state is NodeState.ENROLLED:
        message = f"{node.name} has enrolled and not opened its session yet; start its agent."
        return passing.row("state", "NODE_NOT_READY", message)
    message = f"{node.name} is not heard from; look at its agent's log there, and at the network between."
    return passing.row("state", "NODE_UNREACHABLE", message)


def _by_conditions(passing: Passing) -> Refusal | None:
    node = passing.node
    short = [f"{each.condition}: {each.message}" for each in node.conditions if each.pressed]
    if not short:
        return None
    message = f"{node.name} runs short of {'; '.join(short)}. Nothing new is placed there until there is enough again."
    return passing.row("state", "NODE_PRESSED", message)


def _by_cordon(passing: Passing) -> Refusal | None:
    if not (node := passing.node).cordoned:
        return None
    message = f"{node.name} is cordoned{why_cordoned(node, WHOLE)}; uncordon it to have it take work again."
    return passing.row("cordon", "NODE_CORDONED", message)


def _by_backend(passing: Passing) -> Refusal | None:
    node = passing.node
    facts = _reading(passing).facts if passing.spec.backend == "" else None
    wanted = wanted_backend(passing.spec, facts)
    if wanted is None:
        return _by_path(passing)
    declared = passing.snapshot.declared.get(wanted)
    if declared is not None:
        return _by_runner(passing, declared)
    reported = own_profiles(node, passing.snapshot.profiles)
    passing.profile = next((profile for profile in reported if answers_to(profile, wanted)), None)
    if passing.profile is not None:
        return None
    offered = ", ".join(profile.backend for profile in reported) or "none"
    return passing.row(
        "backend",
        "BACKEND_MISSING",
        f"{node.name} does not offer the backend {wanted} (it offers {offered}); install its plugin there, see"
        " `motorpool plugins`, or choose another backend.",
    )


def _by_rules(passing: Passing) -> Refusal | None:
    profile = passing.profile
    if profile is None or profile.rules in RULES:
        return None
    return passing.row(
        "backend",
        "RULES_UNKNOWN",
        f"{profile.backend} on {passing.node.name} wants to be placed by rules {shown(profile.rules)}, and there are"
        f" {', '.join(sorted(RULES))}; its plugin has to name one of these.",
    )


def _by_runner(passing: Passing, declared: Profile) -> Refusal | None:
    if runner_of(passing.node, passing.snapshot.profiles):
        passing.profile = declared
        return None
    return passing.row(
        "backend",
        "BACKEND_MISSING",
        f"{passing.node.name} has no plugin that runs declared backends, as {declared.backend} is one; install "
        "motorpool-custom there and restart its agent, see `motorpool plugins`.",
    )


def _by_version(passing: Passing) -> Refusal | None:
    node, profile, wanted = passing.node, passing.profile, passing.spec.backend_version
    if profile is None:
        return None
    there = [version for version in profile.versions if wanted in {"", version.version}]
    if not there:
        offered = ", ".join(version.version for version in profile.versions) or "none"
        return passing.row(
            "backend",
            "VERSION_MISSING",
            f"{node.name} does not offer version {shown(wanted)} of {profile.backend} (it offers {offered});"
            " choose one of these.",
        )
    idle: dict[str, str] = {}
    old: dict[str, str] = {}
    for version in there:
        executor = _executor_of(version, passing.spec)
        why = node.missing(executor)
        if why is not None:
            idle.setdefault(executor, why)
            continue
        if version.operating_systems and node.host.os not in version.operating_systems:
            continue
        if version.architectures and node.host.architecture not in version.architectures:
            continue
        for framework in version.frameworks:
            why = too_old(version, framework, passing.devices)
            if why:
                old.setdefault(framework, why)
            else:
                passing.versions.setdefault(framework, version)
    if not passing.versions and idle:
        return _no_executor(passing, idle)
    if not passing.versions and old:
        return passing.row("framework", "RUNTIME_TOO_OLD", too_old_message(profile.backend, node.name, old.values()))
    if not passing.versions:
        return passing.row(
            "backend",
            "PLATFORM_UNSUPPORTED",
            f"No version of {profile.backend} on {node.name} runs on {node.host.os or 'its system'}"
            f" {node.host.architecture}; choose another backend or version.",
        )
    return _by_framework(passing, profile)


def _executor_of(version: BackendVersion, spec: DeploymentSpec) -> str:
    """Return what would execute a version: an image wants a container, and of process and unit an agent chooses."""
    bare = SYSTEMD if SYSTEMD in version.executors and PROCESS not in version.executors else PROCESS
    return DOCKER if spec.image or version.executors == (DOCKER,) else bare


def _no_executor(passing: Passing, idle: Mapping[str, str]) -> Refusal:
    executor = DOCKER if DOCKER in idle else next(iter(idle))
    what = "no container engine" if executor == DOCKER else f"no executor {executor}"
    return passing.row(
        "executor", "EXECUTOR_MISSING", f"There is {what} on {passing.node.name}: {idle[executor].rstrip('. ')}."
    )


def _by_framework(passing: Passing, profile: Profile) -> Refusal | None:
    frameworks = {device.framework for device in passing.devices}
    if not passing.spec.devices and profile.cpu:
        frameworks.add(CPU)
    if frameworks & set(passing.versions):
        return None
    return passing.row(
        "framework",
        "FRAMEWORK_UNSUPPORTED",
        f"{profile.backend} on {passing.node.name} runs on {', '.join(sorted(passing.versions))}, and the node has"
        f" {', '.join(sorted(frameworks)) or 'no device'}; choose another backend or version.",
    )


def _by_path(passing: Passing) -> Refusal | None:
    reading = _reading(passing)
    path, name = passing.spec.model.place, passing.node.name
    if reading.facts is None:
        passing.asked += (path, *(wanted.path for wanted in unread(passing)))
    if reading.facts is not None:
        return None
    if not reading.error_reason:
        why = "has not answered, and is asked again" if reading.late else "is asked in its turn; answers come soon"
        return passing.row(
            "facts", "MODEL_NOT_READ_YET", f"{name} has the model's headers at {path} to read: it {why}."
        )
    if passing.profile is not None and _needs_no_headers(passing.profile, reading.error_reason):
        if _claimed(passing.spec):
            return None
        if passing.profile.rules == FIXED:
            return _claim_missing(passing, passing.profile, reading)
    return passing.row(
        "path",
        reading.error_reason,
        f"{name} cannot use {path}: {reading.error_message.rstrip('. ')}. It is asked again from time to time.",
    )


def _needs_no_headers(profile: Profile, reason: str) -> bool:
    """Return whether a model that was not read for this reason may do: it is there, and the format may be any."""
    return reason == READABLE_BY_HAND or (not profile.formats and reason not in ABSENT)


def _claim_missing(passing: Passing, profile: Profile, reading: Reading) -> Refusal:
    return passing.row(
        "facts",
        "CLAIM_MISSING",
        f"Nothing can be estimated of {passing.spec.model.place} ({reading.error_message.rstrip('. ')}), and nothing "
        f"is claimed for it: deploy it with --memory 2GiB (claim.memory_bytes), or with --device-memory 8GiB "
        f"(claim.device_memory_bytes) on a device; if {profile.backend} was declared, its declaration can say so too.",
    )


def _claimed(spec: DeploymentSpec) -> bool:
    return spec.claim_memory_bytes is not None or spec.claim_device_memory_bytes is not None


def _by_format(passing: Passing) -> Refusal | None:
    profile, facts = passing.profile, _reading(passing).facts
    if profile is None or facts is None:
        return None
    if passing.spec.image:  # its engine may be newer than the one whose models the profile lists
        profile = replace(profile, architectures=())
    against = misfit(profile, facts, passing.spec.categories)
    if against is None:
        return None
    reason, message = against
    return passing.row("facts", reason, f"{profile.backend} on {passing.node.name} cannot run the model: {message}.")


def _by_features(passing: Passing) -> Refusal | None:
    spec, profile = passing.spec, passing.profile
    wishes = {"lora": spec.lora_adapters, "speculative": spec.speculative}
    lacking = [name for name, wish in wishes.items() if wish and profile is not None and name not in profile.features]
    if profile is None or not lacking:
        return None
    message = f"{profile.backend} on {passing.node.name} cannot be launched with {' and '.join(lacking)}: leave it out."
    return passing.row("spec", "FEATURE_UNSUPPORTED", message)


def _by_parameters(passing: Passing) -> Refusal | None:
    if passing.profile is None:
        return None
    try:
        passing.parameters = parse(passing.spec.parameters, passing.profile.options)
    except InvalidError as error:
        return passing.row(
            "parameters", error.reason, f"{passing.profile.backend} on {passing.node.name}: {error.message}."
        )
    return None


def _reading(passing: Passing) -> Reading:
    if passing.reading is None:
        passing.reading = passing.snapshot.answer(passing.node.name, passing.spec.model.place)
    return passing.reading


_FILTERS = (
    _by_pins,
    _by_labels,
    _by_state,
    _by_conditions,
    _by_cordon,
    _by_backend,
    _by_rules,
    _by_version,
    _by_features,
    _by_parameters,
    _by_path,
    refused,
    _by_format,
)
"""In this order; the first that removes a node names the reason."""
