"""The client in Node.js against a real controller and agent."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from motorpool import v1
from tests.e2e.conftest import ROOT
from tests.e2e.fleet import Fleet, engines_below

EXAMPLE = ROOT / "examples" / "clients" / "node"

pytestmark = pytest.mark.e2e
needs_node = pytest.mark.needs("node", "npm")


@pytest.fixture(scope="session")
def packages() -> None:
    """
    The example's packages, installed from its lock the first time, as its README says.
    """
    lock, installed = EXAMPLE / "package-lock.json", EXAMPLE / "node_modules" / ".package-lock.json"
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    with (cache / "e2e-node.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # the tests' workers share it
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            done = subprocess.run(["npm", "ci"], cwd=EXAMPLE, capture_output=True, text=True, check=False, timeout=100)
            assert 0 == done.returncode, done.stderr


def node(fleet: Fleet, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["node", str(EXAMPLE / "main.js"), *words],
        env={**os.environ, "MOTORPOOL_CONFIG": str(fleet.client_file), **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@needs_node
@pytest.mark.slow
@pytest.mark.usefixtures("packages")
def test_it_lists_deploys_explains_and_deletes(fleet: Fleet, tiny_model: Path) -> None:
    """
    Over TLS with a token, a model comes up, says why it is there, and leaves nothing behind; stderr is empty.
    """
    fleet.start_agent()

    nodes = node(fleet, "nodes")
    deployed = node(fleet, "deploy", "tiny", str(tiny_model))
    (running,) = fleet.instances("tiny")
    explained = node(fleet, "explain", "tiny")
    deleted = node(fleet, "delete", "tiny")

    assert ["", "", "", ""] == [done.stderr for done in (nodes, deployed, explained, deleted)]
    assert [0, 0, 0, 0] == [done.returncode for done in (nodes, deployed, explained, deleted)]
    assert "nodes/a  READY  " in nodes.stdout
    assert v1.INSTANCE_STATE_RUNNING == running.state
    assert deployed.stdout.endswith(f"{running.name}  RUNNING\nanswers at {running.endpoint}\n")
    assert f"{running.name}  RUNNING  It was placed on nodes/a" in explained.stdout
    assert "deployments/tiny is gone\n" == deleted.stdout
    assert [] == fleet.instances("tiny")
    assert [] == engines_below(fleet.folder / "a" / "instances")


@needs_node
@pytest.mark.slow
@pytest.mark.usefixtures("packages")
def test_what_fits_nowhere_ends_with_its_refusal(fleet: Fleet, tmp_path: Path) -> None:
    """
    A deployment that fits nowhere ends the program with the refusal's reason, and can be explained.
    """
    fleet.start_agent()

    deployed = node(fleet, "deploy", "absent", str(tmp_path / "absent.gguf"))
    explained = node(fleet, "explain", "absent")

    assert 1 == deployed.returncode
    assert deployed.stderr.endswith("[MODEL_NOT_FOUND]\n")
    assert "  MODEL_NOT_FOUND: nodes/a cannot use" in explained.stdout


@needs_node
@pytest.mark.usefixtures("packages")
def test_a_refused_call_ends_with_its_reason(fleet: Fleet, tmp_path: Path) -> None:
    """
    An error exits with 1, its paragraph and the controller's own reason.
    """
    other = tmp_path / "client.toml"
    other.write_text(fleet.client_file.read_text().replace('token = "', 'token = "x'))
    shutil.copy(fleet.controller_dir / "ca.pem", tmp_path)

    unknown = node(fleet, "explain", "nobody")
    untrusted = node(fleet, "nodes", MOTORPOOL_CONFIG=str(other))
    misconfigured = node(fleet, "nodes", MOTORPOOL_CONFIG="/nowhere/client.toml")
    fleet.close()
    unreachable = node(fleet, "nodes")

    for done, reason in (
        (unknown, "NOT_FOUND"),
        (untrusted, "TOKEN_INVALID"),
        (misconfigured, "CLIENT_CONFIG_INVALID"),
        (unreachable, "UNAVAILABLE"),
    ):
        assert (1, f"[{reason}]") == (done.returncode, done.stderr.split()[-1])
        assert "    at " not in done.stderr  # a traceback's line


def test_its_lock_names_no_address() -> None:
    """
    The lock pins every package by version and hash, and leaves where they come from to whoever installs them.
    """
    text = (EXAMPLE / "package-lock.json").read_text()
    packages = [entry for name, entry in json.loads(text)["packages"].items() if name]

    assert "://" not in text
    assert [] == [entry for entry in packages if not entry.get("version") or not entry.get("integrity")]
