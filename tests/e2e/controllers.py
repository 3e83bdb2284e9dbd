"""Several controllers on one PostgreSQL database, and a client that goes to whichever leads."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from motorpool import v1
from motorpool_cli.bearer import secure_channel
from motorpool_cli.client import Client, connect
from motorpool_cli.settings import Settings, load
from tests.e2e.chat import Questioner
from tests.e2e.fleet import BIN, Fleet, Process, free_port, wait_for
from tests.postgresql import PostgresServer


class Controllers(Fleet):
    """A fleet whose cluster has more than one controller; ``a`` is the one that made it."""

    def __init__(self, folder: Path, engines: Path, server: PostgresServer, *settings: tuple[str, str]) -> None:
        self.where = server.new()
        self.environment = {
            **os.environ,
            "MOTORPOOL_CONTROLLER_DATABASE": self.where.url,
            **{f"MOTORPOOL_CONTROLLER_{name.upper()}": value for name, value in settings},
        }
        self.ports: dict[str, tuple[int, int]] = {}
        self.running: dict[str, Process] = {}
        super().__init__(folder, engines)
        self.ports["a"] = (self.public_port, self.agents_port)

    def command(self, *command: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        """Run one of our commands to its end, on the cluster's database."""
        found = {key: value for key, value in self.environment.items() if key.startswith("MOTORPOOL_CONTROLLER_")}
        return super().command(*command, check=check, **{**found, **env})

    def folder_of(self, name: str) -> Path:
        """Return a controller's data directory."""
        return self.controller_dir if name == "a" else self.folder / f"controller-{name}"

    def options(self, name: str) -> list[str]:
        """Return the options of a controller."""
        public, agents = self.ports.setdefault(name, (free_port(), free_port()))
        return [
            *("--data-dir", str(self.folder_of(name))),
            *("--listen", f"{self.host}:{public}"),
            *("--agents-listen", f"{self.host}:{agents}"),
        ]

    def join_controller(self, name: str) -> None:
        """Make the data directory of another controller of the same cluster."""
        carried = self.folder / "authority"
        self.command("motorpool-controller", "ca", "export", str(carried), "--data-dir", str(self.controller_dir))
        self.command("motorpool-controller", "init", "--authority", str(carried), *self.options(name))
        carried.unlink()

    def run_controller(self, name: str) -> Process:
        """Start a controller, and return when it leads or stands by."""
        log = self.folder / f"controller-{name}.log"
        before = _told(log)
        started = Process([str(BIN / "motorpool-controller"), "run", *self.options(name)], log, env=self.environment)
        self.running[name] = started

        def answers() -> bool:
            assert started.running(), started.tail()
            return _told(log) > before

        wait_for(f"controller {name}", answers)
        return started

    def identity_text(self, node: str = "a") -> str:
        """Return what a node keeps of where the controllers are."""
        return (self.folder / node / "identity" / "identity.json").read_text(encoding="utf-8")

    def address(self, name: str) -> str:
        """Return a controller's public listener."""
        return f"{self.host}:{self.ports[name][0]}"

    def leads(self, name: str) -> bool:
        """Whether a controller answers as the leader."""
        with self.channel_to(name) as channel, contextlib.suppress(grpc.RpcError):
            v1.ClusterServiceStub(channel).GetCluster(v1.GetClusterRequest(), timeout=5)
            return True
        return False

    def wait_leads(self, name: str) -> None:
        """Wait until a controller leads."""

        def leads() -> bool:
            assert self.running[name].running(), self.running[name].tail()
            return self.leads(name)

        wait_for(f"controller {name} to lead", leads)

    @contextlib.contextmanager
    def channel_to(self, name: str) -> Iterator[grpc.Channel]:
        """Give a channel to one controller, whatever it is."""
        settings = self.settings(name)
        options = [("grpc.enable_http_proxy", 0)]
        with secure_channel(settings.server, settings.ca_pem, settings.token, options) as channel:
            yield channel

    def settings(self, *names: str) -> Settings:
        """Return how an admin reaches these controllers."""
        servers = ",".join(self.address(name) for name in names)
        return load(config=self.client_file, server=servers, environ={})

    def following(self) -> contextlib.AbstractContextManager[Client]:
        """Give the command's own client, which knows all controllers."""
        return connect(self.settings(*self.ports))

    def nodes_ready(self) -> int:
        """Return how many nodes are in session."""
        with self.following() as client:
            found = client.nodes.ListNodes(v1.ListNodesRequest(), timeout=20).nodes
        return sum(node.state == v1.NODE_STATE_READY for node in found)

    def instances(self, deployment: str) -> list[v1.Instance]:
        """Return a deployment's instances, of whichever controller leads."""
        with self.following() as client:
            request = v1.ListInstancesRequest(deployment=f"deployments/{deployment}")
            return list(client.instances.ListInstances(request, timeout=20).instances)

    def close(self) -> None:
        """Stop agents and controllers."""
        for agent in self.agents.values():
            if agent.running():
                agent.terminate()
        for process in self.running.values():
            if process.running():
                # One that a test left standing still as well.
                process.kill()
        super().close()


def _told(log: Path) -> int:
    """Return how often a controller's log says that it leads or stands by."""
    text = log.read_text(encoding="utf-8") if log.exists() else ""
    return text.count("controller ready") + text.count("controller stands by")


@dataclass
class Load:
    """A client that creates and scales deployments without end, each call once, and remembers what was acknowledged."""

    fleet: Controllers
    acknowledged: dict[str, tuple[str, int]] = field(default_factory=dict)
    """By deployment its uid and the replicas that were accepted last."""
    failures: list[str] = field(default_factory=list)
    slowest_seconds: float = 0.0

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait_for_more(self, count: int) -> None:
        """Return once so many more deployments were acknowledged."""
        goal = len(self.acknowledged) + count
        wait_for(f"{count} more acknowledged", lambda: len(self.acknowledged) >= goal or self.failures, 120)

    def _run(self) -> None:
        with self.fleet.following() as client:
            number = 0
            while not self._stop.is_set():
                number += 1
                began = time.monotonic()
                try:
                    self._one(client, f"load-{number}", number % 3)
                except Exception as error:  # noqa: BLE001  # the test tells of it
                    self.failures.append(repr(error))
                    return
                self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)

    def _one(self, client: Client, name: str, number: int) -> None:
        # Nothing is placed: no node has such a label.
        spec = v1.DeploymentSpec(
            model=v1.ModelSource(local_path="/nowhere.gguf"),
            replicas=0,
            node_selector=v1.NodeSelector(match_labels={"no": "such"}),
        )
        made = client.deployments.CreateDeployment(
            v1.CreateDeploymentRequest(
                deployment_id=name, deployment=v1.Deployment(spec=spec), request_id=uuid.uuid4().hex
            ),
            timeout=20,
        )
        wish = v1.Deployment(name=made.name, spec=v1.DeploymentSpec(replicas=number))
        scaled = client.deployments.UpdateDeployment(
            v1.UpdateDeploymentRequest(
                deployment=wish, update_mask=FieldMask(paths=["spec.replicas"]), request_id=uuid.uuid4().hex
            ),
            timeout=20,
        )
        self.acknowledged[made.name] = (made.uid, scaled.spec.replicas)


@contextlib.contextmanager
def two_controllers(folder: Path, engines: Path, server: PostgresServer) -> Iterator[Controllers]:
    """Give two controllers, the first of which leads, and a node that enrolled when there was but one."""
    with contextlib.closing(Controllers(folder, engines, server, ("leader_lease_seconds", "4"))) as fleet:
        fleet.run_controller("a")
        fleet.launch_agent()
        wait_for("the node to be ready", lambda: fleet.nodes_ready() == 1)
        fleet.join_controller("b")
        fleet.run_controller("b")
        wait_for("the agent to be told of the second", lambda: f":{fleet.ports['b'][1]}" in fleet.identity_text())
        yield fleet


@contextlib.contextmanager
def model_answering(fleet: Controllers, model: Path) -> Iterator[None]:
    """Have a model answer while the block lasts: no question fails, and its process is the same at the end."""
    with fleet.following() as client:
        wish = v1.DeploymentSpec(model=v1.ModelSource(local_path=str(model)))
        client.deployments.CreateDeployment(
            v1.CreateDeploymentRequest(deployment_id="first", deployment=v1.Deployment(spec=wish)), timeout=20
        )
        before = fleet.wait_state("first", v1.INSTANCE_STATE_RUNNING)
        credentials = client.deployments.GetDeploymentCredentials(
            v1.GetDeploymentCredentialsRequest(name="deployments/first"), timeout=20
        )
    with Questioner(credentials) as questioner:
        yield
        questioner.wait_for_more(3, "after it all")
    after = fleet.wait_state("first", v1.INSTANCE_STATE_RUNNING)
    assert [] == questioner.failures
    assert (before.pid, before.pid_start_ticks, 0) == (after.pid, after.pid_start_ticks, after.restart_count)
