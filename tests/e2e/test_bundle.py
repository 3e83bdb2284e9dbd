"""A node without a network: model, engine and agent come by one file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from motorpool import v1
from tests.conftest import cannot_run_here
from tests.e2e.conftest import ROOT
from tests.e2e.fleet import BIN, Fleet
from tests.hub.server import LocalHub

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ISOLATED = ["unshare", "--net", *(() if os.geteuid() == 0 else ("--map-root-user",))]


@pytest.fixture(name="hub")
def _hub(monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> Iterator[LocalHub]:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    with LocalHub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        hub.add("acme/tiny-GGUF", {"tiny-Q8_0.gguf": tiny_model})
        yield hub


def isolated() -> None:
    """Skip, in CI fail, where there are no network namespaces."""
    tried = subprocess.run([*ISOLATED, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        cannot_run_here(f"this machine gives no network namespace: {tried.stderr.strip()}")


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=400)
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(600)
@pytest.mark.needs("unshare")
def test_an_agent_is_installed_from_a_bundle_alone(tmp_path: Path) -> None:
    """
    Its packages, its plugins' and all that they need: in a network namespace without routes, the script makes an
    environment of them, whose agent installs the rest.
    """
    isolated()
    ours = tmp_path / "ours"
    projects = {path.parent for path in (*ROOT.glob("*/pyproject.toml"), *(ROOT / "plugins").rglob("pyproject.toml"))}
    offline = ("--no-deps", "--no-index", "--disable-pip-version-check", "--quiet", "--no-build-isolation")
    run(sys.executable, "-m", "pip", "wheel", *offline, "-w", ours, *sorted(projects))
    file, there = tmp_path / "agent.bundle", tmp_path / "there"
    there.mkdir()

    agent = BIN / "motorpool-agent"
    run(agent, "bundle", "create", "-o", file, "--find-links", ours, "--data-dir", tmp_path / "none")
    run("tar", "-xf", file, "install.sh", "wheels", cwd=there)
    run(*ISOLATED, "sh", there / "install.sh", tmp_path / "environment")
    installed = tmp_path / "environment" / "bin" / "motorpool-agent"
    said = run(*ISOLATED, installed, "bundle", "install", file, "--data-dir", tmp_path / "data")
    engines = run(*ISOLATED, installed, "engine", "list", "--data-dir", tmp_path / "data")

    assert "is installed" in said
    assert "llama_cpp" in engines
    assert list((tmp_path / "data" / "wheels").glob("motorpool_agent-*.whl"))


@pytest.mark.promise("P12")
@pytest.mark.timeout(400)
@pytest.mark.needs("ip", "unshare")
def test_a_node_without_a_network_is_fed_by_a_bundle(hub: LocalHub, fleet: Fleet, tmp_path: Path) -> None:
    """
    Made on a node that fetched the model; in a network namespace without routes it is installed, and the model served.
    """
    isolated()
    fleet.start_agent("a", "--reserved-disk", "0")
    model = v1.ModelSource(hugging_face=v1.HuggingFaceSource(repository="acme/tiny-GGUF"))
    spec = v1.DeploymentSpec(model=model, backend="llama_cpp", parameters=["-c", "512"])
    fleet.deployments.CreateDeployment(
        v1.CreateDeploymentRequest(deployment_id="chat", deployment=v1.Deployment(spec=spec)), timeout=30
    )
    fleet.wait_state("chat", v1.INSTANCE_STATE_RUNNING)
    file, there = tmp_path / "node.bundle", tmp_path / "there"
    (tmp_path / "offline").mkdir()

    made = subprocess.run(
        [
            *(str(BIN / "motorpool-agent"), "bundle", "create", "--model", "acme/tiny-GGUF", "--engine", "llama_cpp"),
            *("--no-agent", "-o", str(file), "--data-dir", str(tmp_path / "a")),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert 0 == made.returncode, made.stdout + made.stderr
    installed = subprocess.run(
        [*ISOLATED, str(BIN / "motorpool-agent"), "bundle", "install", str(file), "--data-dir", str(there)],
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert 0 == installed.returncode, installed.stdout + installed.stderr
    [path] = (there / "models" / "folders").iterdir()
    served = subprocess.run(
        [
            *(*ISOLATED, sys.executable, "-m", "tests.e2e.offline", str(tmp_path / "offline"), str(there / "engines")),
            str(path / "tiny-Q8_0.gguf"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    assert f"motorpool deploy NAME --model {path}" in installed.stdout
    assert 0 == served.returncode, served.stdout + served.stderr
    assert '"interfaces": ["lo"]' in served.stdout
