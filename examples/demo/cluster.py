"""A controller and an agent on loopback, run as a person would run them: by their commands."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import psutil

T = TypeVar("T")
BIN = Path(sys.executable).parent
KEPT = {"MOTORPOOL_LLAMA_SERVER"}
"""Variables that are not about a cluster but about the machine."""


class DemoError(Exception):
    """The demo failed, and says where to look."""


class Cluster:
    """One controller, one agent and the ``motorpool`` command for them, below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.controller_dir, self.agent_dir = folder / "controller", folder / "agent"
        self.public_port, self.agents_port = _free_port(), _free_port()
        self.client_file = self.controller_dir / "client.toml"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def check_unused(self) -> None:
        """Fail where an earlier run's processes still use the folder: they would lose their files under their feet."""
        left = self._left_running()
        if not left:
            return
        daemons = {pid: argv for pid, argv in left.items() if any("/motorpool-" in word for word in argv[:2])}
        delete = f"MOTORPOOL_CONFIG={shlex.quote(str(self.client_file))} {shlex.quote(str(BIN / 'motorpool'))} delete"
        raise DemoError(
            f"{self.folder} is in use by an earlier demo that was left running. See what it runs, and stop it:\n"
            + (f"  {delete} smollm2 --wait\n" if daemons else "")
            + "".join(f"  kill {pid}    # {shlex.join(argv)[:100]}\n" for pid, argv in (daemons or left).items())
            + "or give this one a folder of its own: DEMO_DIR=/path make demo"
        )

    def init(self) -> str:
        """Make the cluster's authority and store, and return a join token."""
        shutil.rmtree(self.controller_dir, ignore_errors=True)
        # Engines are kept between runs: they are what takes long, and what an agent never makes twice. All else there
        # belongs to the cluster before.
        for path in self.agent_dir.glob("*"):
            if path.is_dir() and path.name != "engines":
                shutil.rmtree(path, ignore_errors=True)
            elif path.is_file():
                path.unlink()
        self.folder.mkdir(parents=True, exist_ok=True)
        run("motorpool-controller", "init", *self._controller_options(), env=self._env())
        return run("motorpool-controller", "token", "join", *self._data_dir_option(), env=self._env()).strip()

    def start_controller(self) -> None:
        """Start the controller in the background, and wait until it answers."""
        self._start("controller", "motorpool-controller", "run", *self._controller_options())
        self.wait("controller", "the controller to answer", lambda: self._answer("nodes") is not None)

    def start_agent(self, token: str, node: str, *options: str) -> None:
        """Start the agent in the background, and wait until its node is ready and offers a backend."""
        self.launch_agent(token, node, *options)
        self.wait("agent", "the node to be ready", self._ready)

    def launch_agent(self, token: str, node: str, *options: str) -> None:
        """Start the agent in the background, and wait for nothing."""
        token_file = self.folder / "join.token"
        token_file.touch(mode=0o600)
        token_file.write_text(token, encoding="ascii")
        self._start(
            *("agent", "motorpool-agent", "run", "--server", f"127.0.0.1:{self.public_port}"),
            *("--token-file", str(token_file), "--node-name", node, "--data-dir", str(self.agent_dir)),
            *("--cache-dir", str(self.folder / "cache"), *options),
        )

    def motorpool(self, *arguments: str) -> None:
        """Run the command as a person would, with its output on the terminal."""
        print(f"\n$ motorpool {shlex.join(arguments)}", flush=True)
        done = subprocess.run(
            [str(BIN / "motorpool"), *arguments], env=self._env(), stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode:
            raise DemoError(f"`motorpool {shlex.join(arguments)}` ended with {done.returncode}, see above")

    def answer(self, *arguments: str) -> dict[str, object]:
        """Return what the command says as JSON, without showing it."""
        output = run("motorpool", *arguments, "--output", "json", env=self._env())
        document: dict[str, object] = json.loads(output)
        return document

    def wait(self, name: str, what: str, ready: Callable[[], bool], timeout_seconds: float = 60.0) -> None:
        """Wait until ``ready``; fail with the process's log when it ends or the time runs out."""
        deadline = time.monotonic() + timeout_seconds
        while not ready():
            ended = self._processes[name].poll() is not None
            if ended or time.monotonic() > deadline:
                log = (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")
                why = "it ended" if ended else f"not within {timeout_seconds:.0f} s"
                raise DemoError(f"waited for {what}: {why}. The end of its log:\n{log[-3000:]}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop the agent and the controller. Instances are not theirs to stop: delete deployments first."""
        for name in reversed(self._processes):
            process = self._processes[name]
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for name, process in self._processes.items():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                print(f"the {name} (pid {process.pid}) did not end on SIGTERM: killed", file=sys.stderr)
                process.kill()
                process.wait()

    def kill(self, name: str) -> None:
        """Kill what runs in the background, and return when it is gone."""
        self._processes[name].kill()
        self._processes[name].wait()

    def pids(self) -> dict[str, int]:
        """Return the process ids of what runs in the background."""
        return {name: process.pid for name, process in self._processes.items()}

    def _start(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            # A session of its own: an interrupt at the terminal reaches the demo alone, which then stops in order.
            self._processes[name] = subprocess.Popen(
                [str(BIN / command[0]), *command[1:]],
                env=self._env(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _left_running(self) -> dict[int, list[str]]:
        """Return the arguments of every process that has to do with a file of the cluster, by its pid."""
        folders = [f"{path}{end}" for path in (self.controller_dir, self.agent_dir) for end in ("/", "\0")]
        found: dict[int, list[str]] = {}
        for process in psutil.process_iter():
            try:
                argv = process.cmdline()
            except psutil.Error:
                continue
            if any(f"{argument}\0".startswith(folder) for argument in argv for folder in folders):
                found[process.pid] = argv
        return found

    def _answer(self, *arguments: str) -> dict[str, object] | None:
        try:
            return self.answer(*arguments)
        except DemoError:
            return None

    def _ready(self) -> bool:
        nodes = self._answer("nodes") or {}
        listed = nodes.get("nodes", [])
        ready = isinstance(listed, list) and any(node["state"] == "NODE_STATE_READY" for node in listed)
        return ready and bool((self._answer("backends") or {}).get("backends"))

    def _data_dir_option(self) -> tuple[str, str]:
        return ("--data-dir", str(self.controller_dir))

    def _controller_options(self) -> Sequence[str]:
        return (
            *self._data_dir_option(),
            *("--listen", f"127.0.0.1:{self.public_port}"),
            *("--agents-listen", f"127.0.0.1:{self.agents_port}"),
        )

    def _env(self) -> dict[str, str]:
        """Our environment without what a person set for another cluster; the files in /etc are that cluster's too."""
        kept = {name: value for name, value in os.environ.items() if name in KEPT or not name.startswith("MOTORPOOL_")}
        nothing = dict.fromkeys(("MOTORPOOL_AGENT_CONFIG", "MOTORPOOL_CONTROLLER_CONFIG"), os.devnull)
        return {**kept, **nothing, "MOTORPOOL_CONFIG": str(self.client_file)}


def run(*command: str, env: dict[str, str]) -> str:
    """Run one of our commands and return its standard output."""
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DemoError(f"`{shlex.join(command)}` ended with {done.returncode}. {done.stderr}".strip())
    return done.stdout


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
