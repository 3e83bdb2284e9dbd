"""A real controller and real agents on loopback for end-to-end tests, driven through the API as any client would."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import grpc
import psutil
import pytest

from motorpool import v1
from motorpool_cli.bearer import secure_channel
from tests.control_groups import remove_groups

BIN = Path(sys.executable).parent
T = TypeVar("T")


def wait_for(what: str, probe: Callable[[], T | None], timeout_seconds: float = 60.0) -> T:
    """Return what ``probe`` gives as soon as it is true; fail when that takes too long."""
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        if found := probe():
            return found
        time.sleep(0.02)
    pytest.fail(f"waited {timeout_seconds:.0f} s for {what}")


def _program(name: str) -> str:
    """Return one of our commands, or one of the machine's."""
    ours = BIN / name
    return str(ours) if ours.exists() else name


class Process:
    """One of our commands in the background, with its log in a file."""

    def __init__(self, command: Sequence[str], log: Path, env: dict[str, str] | None = None) -> None:
        self.log = log
        with log.open("ab") as file:
            self._popen = subprocess.Popen(
                [_program(command[0]), *command[1:]], stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=env
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    def kill(self) -> None:
        """SIGKILL it, and return when it is gone."""
        self._popen.kill()
        self._popen.wait()

    def terminate(self) -> int:
        """SIGTERM it, and return its exit code."""
        self._popen.send_signal(signal.SIGTERM)
        return self._popen.wait(30)

    def running(self) -> bool:
        """Whether it runs."""
        return self._popen.poll() is None

    def tail(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-4000:]


class Fleet:
    """One controller and its agents below one folder; ``close`` leaves no process behind."""

    def __init__(self, folder: Path, engines: Path, *, host: str = "127.0.0.1", programs: Path = BIN) -> None:
        self.folder, self.engines, self.host = folder, engines, host
        self.programs = programs
        self.public_port, self.agents_port = free_port(), free_port()
        self.controller_dir = folder / "controller"
        self.controller: Process | None = None
        self.agents: dict[str, Process] = {}
        self.agent_command: tuple[str, ...] = ("motorpool-agent",)
        self._channel: grpc.Channel | None = None
        self._epochs: dict[str, int] = {}
        self.command("motorpool-controller", "init", *self._controller_options())

    def command(self, *command: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        """Run one of our commands to its end."""
        return subprocess.run(
            [str(self.programs / command[0]), *command[1:]],
            env={**os.environ, "MOTORPOOL_CONFIG": str(self.client_file), **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=check,
            timeout=100,
        )

    @property
    def client_file(self) -> Path:
        """What ``init`` wrote for clients."""
        return self.controller_dir / "client.toml"

    def start_controller(self) -> Process:
        """Start the controller and wait until it answers."""
        self.controller = Process(
            [str(self.programs / "motorpool-controller"), "run", *self._controller_options()],
            self.folder / "controller.log",
        )
        wait_for("the controller", self._controller_answers)
        return self.controller

    def join_token(self, *options: str) -> str:
        """Return a new join token."""
        done = self.command("motorpool-controller", "token", "join", "--data-dir", str(self.controller_dir), *options)
        return done.stdout.strip()

    def enroll_options(self, node: str) -> list[str]:
        """Return the options with which a node enrols."""
        data_dir = self.folder / node
        if not data_dir.exists():
            data_dir.mkdir()
            (data_dir / "engines").symlink_to(self.engines)
        return ["--server", f"{self.host}:{self.public_port}", "--node-name", node, "--data-dir", str(data_dir)]

    def run_options(self, node: str) -> list[str]:
        """Return the options with which a node's agent runs; its ports are apart from other fleets' and nodes'."""
        number = [*self.agents, node].index(node)
        first = 3000 + (self.public_port * 40) % 25000 + number * 20
        ports = ["--port-range", f"{first}-{first + 19}"]
        return [*self.enroll_options(node), *ports, "--cache-dir", str(self.engines.parent / "cache")]

    def start_agent(self, node: str = "a", *more: str, token: str | None = None) -> Process:
        """Start a node's agent, enrolling it the first time, and wait until the node is ready and offers llama.cpp."""
        self.launch_agent(node, *more, token=token)
        self.wait_ready(node)
        return self.agents[node]

    def launch_agent(self, node: str = "a", *more: str, token: str | None = None) -> Process:
        """Start a node's agent, enrolling it the first time, and wait for nothing; ``more`` are options of its own."""
        options = [*self.run_options(node), *more]
        if not (self.folder / node / "identity" / "identity.json").exists():
            options += ["--token", token or self.join_token()]
        self.agents[node] = Process([*self.agent_command, "run", *options], self.folder / f"{node}.log")
        return self.agents[node]

    def wait_ready(self, node: str = "a") -> None:
        """Wait until a node is in session again and offers llama.cpp."""
        epoch = self._epochs.get(node, 0)

        def ready() -> v1.Node | None:
            assert self.agents[node].running(), self.agents[node].tail()
            for found in self.nodes.ListNodes(v1.ListNodesRequest()).nodes:
                if found.name == f"nodes/{node}" and found.session_epoch > epoch:
                    return found if found.state == v1.NODE_STATE_READY and self._offers(node) else None
            return None

        self._epochs[node] = wait_for(f"nodes/{node} to be ready", ready).session_epoch

    @property
    def nodes(self) -> v1.NodeServiceStub:
        """The nodes' service."""
        return v1.NodeServiceStub(self.channel)

    @property
    def deployments(self) -> v1.DeploymentServiceStub:
        """The deployments' service."""
        return v1.DeploymentServiceStub(self.channel)

    @property
    def channel(self) -> grpc.Channel:
        """The admin's channel."""
        if self._channel is None:
            file = tomllib.loads(self.client_file.read_text(encoding="utf-8"))
            authority = (self.controller_dir / file["ca_file"]).read_bytes()
            options = [("grpc.max_reconnect_backoff_ms", 200), ("grpc.enable_http_proxy", 0)]
            self._channel = secure_channel(file["server"], authority, file["token"], options)
        return self._channel

    def deploy(self, name: str, model: Path, **spec: object) -> v1.Deployment:
        """Create a deployment of a local model."""
        wish = v1.DeploymentSpec(model=v1.ModelSource(local_path=str(model)), **spec)  # type: ignore[arg-type] # kwargs
        return self.deployments.CreateDeployment(
            v1.CreateDeploymentRequest(deployment_id=name, deployment=v1.Deployment(spec=wish)),
            wait_for_ready=True,
            timeout=30,
        )

    def instances(self, deployment: str) -> list[v1.Instance]:
        """Return a deployment's instances; none while the controller is away."""
        request = v1.ListInstancesRequest(deployment=f"deployments/{deployment}")
        try:
            return list(v1.InstanceServiceStub(self.channel).ListInstances(request, timeout=5).instances)
        except grpc.RpcError:
            return []

    def wait_state(
        self, deployment: str, *states: v1.InstanceState.ValueType, timeout_seconds: float = 60.0
    ) -> v1.Instance:
        """Return the deployment's instance once it is in one of these states."""

        def found() -> v1.Instance | None:
            listed = self.instances(deployment)
            return next((instance for instance in listed if instance.state in states), None)

        words = " or ".join(v1.InstanceState.Name(state) for state in states)
        try:
            return wait_for(f"{deployment} to be {words}", found, timeout_seconds)
        except BaseException:
            print(self.instances(deployment))
            for process in (self.controller, *self.agents.values()):
                print(process.tail() if process else "")
            raise

    def credentials(self, deployment: str) -> v1.DeploymentCredentials:
        """Return where a deployment answers, and with which key."""
        return self.deployments.GetDeploymentCredentials(
            v1.GetDeploymentCredentialsRequest(name=f"deployments/{deployment}"), timeout=10
        )

    def delete(self, deployment: str) -> None:
        """Delete a deployment and wait until nothing of it is left."""
        with contextlib.suppress(grpc.RpcError):
            self.deployments.DeleteDeployment(
                v1.DeleteDeploymentRequest(name=f"deployments/{deployment}"), wait_for_ready=True, timeout=30
            )
        wait_for(f"{deployment} to be gone", lambda: not self._exists(deployment))

    def close(self) -> None:
        """Stop agents and controller, then whatever engines they left, each known by its handle below our folder."""
        for process in (*self.agents.values(), self.controller):
            if process is not None and process.running():
                process.terminate()
        if self._channel is not None:
            self._channel.close()
        for left in engines_below(self.folder):
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
        deadline = time.monotonic() + 5
        while engines_below(self.folder) and time.monotonic() < deadline:
            time.sleep(0.02)
        for node in self.agents:
            remove_groups(self.folder / node)

    def _exists(self, deployment: str) -> bool:
        try:
            self.deployments.GetDeployment(v1.GetDeploymentRequest(name=f"deployments/{deployment}"), timeout=10)
        except grpc.RpcError as error:
            return not (isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.NOT_FOUND)
        return True

    def _offers(self, node: str) -> bool:
        found = v1.BackendServiceStub(self.channel).ListBackends(v1.ListBackendsRequest(), timeout=5)
        # What most tests deploy with; plugins answer in any order.
        return any(f"nodes/{node}" in each.nodes for each in found.backends if each.name == "backends/llama_cpp")

    def _controller_answers(self) -> bool:
        assert self.controller is not None
        assert self.controller.running(), self.controller.tail()
        try:
            v1.ClusterServiceStub(self.channel).GetCluster(v1.GetClusterRequest(), timeout=5)
        except grpc.RpcError:
            return False
        return True

    def _controller_options(self) -> list[str]:
        return [
            *("--data-dir", str(self.controller_dir)),
            *("--listen", f"{self.host}:{self.public_port}"),
            *("--agents-listen", f"{self.host}:{self.agents_port}"),
        ]


def engines_below(folder: Path) -> list[psutil.Process]:
    """Return the processes that work for instances below ``folder``, by their command lines or working directories."""
    found = []
    ours = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}  # a test's own words name the folder
    for process in psutil.process_iter(["cmdline"]):
        with contextlib.suppress(psutil.Error):
            if process.pid in ours or process.status() == psutil.STATUS_ZOMBIE:
                continue
            words = process.info["cmdline"]
            if words and (any(str(folder) in word for word in words) or process.cwd().startswith(f"{folder}/")):
                found.append(process)
    return found


def free_port() -> int:
    """Return a port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
