"""Everything that may happen, in any order; after each step the invariants are checked."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition
from hypothesis.stateful import rule as rule_of

from motorpool import v1
from tests.session import invariants
from tests.session.machine import BACKEND, GIB, Process
from tests.session.operator import Effect, Expected
from tests.session.world import DEVICES, World

NODES = st.sampled_from(sorted(DEVICES))
NAMES = st.sampled_from(["x", "y", "z"])
ROUNDS = st.sampled_from([0, 1, 2, 3, 5, 8, 13, 21, 34, None, None, None])
"""How long everybody is let go on after a step; None until nothing is left to do."""
SECONDS = st.sampled_from([0.2, 1.0, 5.0, 10.0, 25.0, 45.0, 130.0, 400.0])


def rule(**given: Any) -> Callable[[Any], Any]:
    """A rule that counts how often it was carried out."""

    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def counting(self: Fleet, **drawn: Any) -> None:
            type(self).happened[function.__name__] += 1
            function(self, **drawn)

        made: Any = rule_of(**given)
        return made(counting)

    return decorate


class Fleet(RuleBasedStateMachine):
    """A controller, three nodes, and all that happens to them."""

    cluster: Path
    """The folder that every world is a copy of."""
    folder: Path
    happened: ClassVar[Counter[str]] = Counter()
    """How often each rule was carried out."""

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp(dir=self.folder))
        self.world = World(self.directory, self.cluster, session_max_age_seconds=6_000.0)
        self.world.rest()
        self.deploy_this("x", 2, 8, 30, None)
        self.deploy_this("y", 1, 12, 300, None)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            invariants.converge(self.world)
            invariants.quiet(self.world)
        finally:
            self.world.close()
            shutil.rmtree(self.directory, ignore_errors=True)

    @invariant()
    def promises(self) -> None:
        invariants.hold(self.world)

    def go_on(self, rounds: int | None) -> None:
        if rounds is None:
            self.world.rest()
        else:
            for _ in range(rounds):
                self.world.round()

    # --- what the operator does

    def ask(
        self,
        method: str,
        request: Message,
        answer: Callable[[bytes], Message],
        effect: Effect,
        rounds: int | None,
    ) -> None:
        if self.world.controller is not None:
            self.world.calls.append((self.world.controller.call(method, request, answer), effect))
        self.go_on(rounds)

    @rule(
        name=NAMES,
        replicas=st.integers(1, 3),
        gib=st.sampled_from([8, 12, 24]),
        patience=st.sampled_from([-1, 0, 30, 300]),
        rounds=ROUNDS,
    )
    def deploy(self, name: str, replicas: int, gib: int, patience: int, rounds: int | None) -> None:
        self.deploy_this(name, replicas, gib, patience, rounds)

    def deploy_this(self, name: str, replicas: int, gib: int, patience: int, rounds: int | None) -> None:
        spec = v1.DeploymentSpec(
            model=v1.ModelSource(local_path=self.world.model),
            backend=BACKEND,
            replicas=replicas,
            claim=v1.ClaimOverride(memory_bytes=GIB, device_memory_bytes=gib * GIB),
            reschedule_after=Duration(seconds=patience),
        )
        request = v1.CreateDeploymentRequest(deployment_id=name, deployment=v1.Deployment(spec=spec))

        def done(expected: Expected) -> None:
            expected.replicas[f"deployments/{name}"] = replicas

        self.ask("DeploymentService/CreateDeployment", request, v1.Deployment.FromString, done, rounds)

    @rule(name=NAMES, replicas=st.integers(0, 3), rounds=ROUNDS)
    def scale(self, name: str, replicas: int, rounds: int | None) -> None:
        deployment = v1.Deployment(name=f"deployments/{name}", spec=v1.DeploymentSpec(replicas=replicas))
        request = v1.UpdateDeploymentRequest(deployment=deployment, update_mask=FieldMask(paths=["spec.replicas"]))

        def done(expected: Expected) -> None:
            if deployment.name in expected.replicas:
                expected.replicas[deployment.name] = replicas

        self.ask("DeploymentService/UpdateDeployment", request, v1.Deployment.FromString, done, rounds)

    @rule(name=NAMES, rounds=ROUNDS)
    def delete(self, name: str, rounds: int | None) -> None:
        request = v1.DeleteDeploymentRequest(name=f"deployments/{name}")

        def done(expected: Expected) -> None:
            expected.replicas.pop(f"deployments/{name}", None)

        self.ask("DeploymentService/DeleteDeployment", request, v1.Deployment.FromString, done, rounds)

    @rule(node=NODES, cordoned=st.booleans(), rounds=ROUNDS)
    def cordon(self, node: str, cordoned: bool, rounds: int | None) -> None:
        request = v1.UpdateNodeRequest(
            node=v1.Node(name=node, cordoned=cordoned), update_mask=FieldMask(paths=["cordoned"])
        )

        def done(expected: Expected) -> None:
            expected.cordoned[node] = cordoned

        self.ask("NodeService/UpdateNode", request, v1.Node.FromString, done, rounds)

    @rule(node=NODES, rounds=ROUNDS)
    def drain(self, node: str, rounds: int | None) -> None:
        def done(expected: Expected) -> None:
            expected.cordoned[node] = True

        self.ask("NodeService/DrainNode", v1.DrainNodeRequest(name=node), v1.Node.FromString, done, rounds)

    @precondition(lambda self: len(self.world.expected.deleted_nodes) < 1)
    @rule(node=NODES, force=st.booleans(), rounds=ROUNDS)
    def node_is_deleted(self, node: str, force: bool, rounds: int | None) -> None:
        def done(expected: Expected) -> None:
            expected.deleted_nodes.add(node)

        request = v1.DeleteNodeRequest(name=node, force=force)
        self.ask("NodeService/DeleteNode", request, Empty.FromString, done, rounds)

    @precondition(lambda self: self.world.forgetful)
    @rule(which=st.integers(0, 5), adopted=st.booleans(), rounds=ROUNDS)
    def stray_is_ended_or_adopted(self, which: int, adopted: bool, rounds: int | None) -> None:
        found = self.world.strays()
        if found:
            (self.world.adopt if adopted else self.world.release)(found[which % len(found)])
        self.go_on(rounds)

    # --- time and luck

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule(node=st.sampled_from(["controller", *sorted(DEVICES)]), rounds=st.integers(1, 12))
    def one_runs_ahead(self, node: str, rounds: int) -> None:
        agent = self.world.sites[node].agent if node in self.world.sites else None
        process = self.world.controller if node == "controller" else agent
        if process is not None:
            self.world.only(process.loop, rounds)

    @rule()
    def everything_is_mended(self) -> None:
        invariants.converge(self.world)

    @precondition(lambda self: self.world.resting)
    @rule()
    def nothing_happens(self) -> None:
        invariants.converge(self.world)
        invariants.quiet(self.world)

    # --- processes and machines

    @rule(rounds=ROUNDS)
    def controller_is_killed(self, rounds: int | None) -> None:
        self.world.kill_controller()
        self.go_on(rounds)

    @precondition(lambda self: self.world.controller is None)
    @rule(rounds=ROUNDS)
    def controller_starts(self, rounds: int | None) -> None:
        self.world.start_controller()
        self.go_on(rounds)

    @rule(node=NODES, rounds=ROUNDS)
    def agent_is_killed(self, node: str, rounds: int | None) -> None:
        self.world.kill_agent(self.world.sites[node])
        self.go_on(rounds)

    @rule(node=NODES, rounds=ROUNDS)
    def agent_starts(self, node: str, rounds: int | None) -> None:
        if self.world.sites[node].agent is None:
            self.world.start_agent(self.world.sites[node])
        self.go_on(rounds)

    @rule(node=NODES, rounds=ROUNDS)
    def agent_is_restarted(self, node: str, rounds: int | None) -> None:
        self.world.kill_agent(self.world.sites[node])
        self.world.start_agent(self.world.sites[node])
        self.go_on(rounds)

    @rule(node=NODES, rounds=ROUNDS)
    def certificate_is_renewed(self, node: str, rounds: int | None) -> None:
        agent = self.world.sites[node].agent
        if agent is not None:
            agent.renewed()
        self.go_on(rounds)

    @rule(node=NODES, rounds=ROUNDS)
    def machine_reboots(self, node: str, rounds: int | None) -> None:
        self.world.kill_agent(self.world.sites[node], machine_too=True)
        self.world.start_agent(self.world.sites[node])
        self.go_on(rounds)

    @rule(node=NODES, which=st.integers(0, 9), rounds=ROUNDS)
    def engine_crashes(self, node: str, which: int, rounds: int | None) -> None:
        site = self.world.sites[node]
        alive: list[Process] = site.machine.alive()
        if alive:
            site.machine.crash(alive[which % len(alive)])
        self.go_on(rounds)

    @rule(node=NODES, broken=st.booleans(), rounds=ROUNDS)
    def engines_cannot_be_started(self, node: str, broken: bool, rounds: int | None) -> None:
        self.world.sites[node].machine.broken = broken
        self.go_on(rounds)

    @rule(node=NODES, gib=st.sampled_from([0, 4, 20]), rounds=ROUNDS)
    def device_is_used_from_outside(self, node: str, gib: int, rounds: int | None) -> None:
        machine = self.world.sites[node].machine
        machine.outside_bytes = {min(machine.devices): gib * GIB}
        self.go_on(rounds)

    @precondition(lambda self: not self.world.clones)
    @rule(node=NODES, rounds=ROUNDS)
    def node_is_cloned(self, node: str, rounds: int | None) -> None:
        self.world.clone(node)
        self.go_on(rounds)

    @rule(rounds=ROUNDS)
    def clone_is_stopped(self, rounds: int | None) -> None:
        self.world.end_clones()
        self.go_on(rounds)

    # --- the store's files

    @precondition(lambda self: len(self.world.backups) < 2)
    @rule()
    def backup_is_made(self) -> None:
        self.world.backups.append(self.world.back_up())

    @precondition(lambda self: bool(self.world.backups))
    @rule(which=st.integers(0, 1), rounds=ROUNDS)
    def backup_is_restored(self, which: int, rounds: int | None) -> None:
        self.world.restore(self.world.backups[which % len(self.world.backups)])
        self.go_on(rounds)

    @precondition(lambda self: not self.world.copies)
    @rule()
    def database_is_copied(self) -> None:
        self.world.copy_database()

    @precondition(lambda self: bool(self.world.copies))
    @rule(rounds=ROUNDS)
    def copy_is_put_back(self, rounds: int | None) -> None:
        self.world.put_copy_back(self.world.copies[0])
        self.go_on(rounds)

    # --- the network

    @rule(node=NODES, upward=st.booleans(), downward=st.booleans(), rounds=ROUNDS)
    def stream_stands_still(self, node: str, upward: bool, downward: bool, rounds: int | None) -> None:
        for stream in self.world.network.of(node)[-1:]:
            stream.flows_up, stream.flows_down = not upward, not downward
        self.go_on(rounds)

    @rule(node=NODES, agent_sees=st.booleans(), controller_sees=st.booleans(), keep=st.integers(0, 3), rounds=ROUNDS)
    def stream_breaks(self, node: str, agent_sees: bool, controller_sees: bool, keep: int, rounds: int | None) -> None:
        for stream in self.world.network.of(node)[-1:]:
            self.world.network.break_stream(stream, agent_sees=agent_sees, controller_sees=controller_sees, keep=keep)
        self.go_on(rounds)

    @rule(node=NODES, which=st.integers(1, 6), rounds=ROUNDS)
    def change_is_swallowed(self, node: str, which: int, rounds: int | None) -> None:
        for stream in self.world.network.of(node)[-1:]:
            stream.swallows = which
        self.go_on(rounds)

    @rule(node=NODES, rounds=ROUNDS)
    def node_is_cut_off(self, node: str, rounds: int | None) -> None:
        self.world.network.cut(node)
        self.go_on(rounds)

    @rule(spared=NODES, seconds=st.sampled_from([20.0, 90.0, 500.0]))
    def most_are_cut_off(self, spared: str, seconds: float) -> None:
        for node in sorted(DEVICES):
            if node != spared:
                self.world.network.cut(node)
        self.world.pass_time(seconds)

    @rule(rounds=ROUNDS)
    def network_heals(self, rounds: int | None) -> None:
        self.world.network.heal()
        self.go_on(rounds)

    @rule(node=NODES, which=st.integers(0, 5), count=st.integers(1, 12), rounds=ROUNDS)
    def stream_is_said_again(self, node: str, which: int, count: int, rounds: int | None) -> None:
        self.world.network.repeat(node, which, count)
        self.go_on(rounds)
