"""Nothing but loopback is needed to estimate and serve a model that is on the node."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def _isolated() -> list[str] | None:
    """
    Return the command that runs another one without a network, or None where this machine forbids it.
    """
    command = ["unshare", "--net", "--map-root-user"]
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return None
    return command if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0 else None


@pytest.mark.promise("P12")
def test_a_local_model_is_estimated_and_served_without_a_network(
    tmp_path: Path, engines: Path, tiny_model: Path, request: pytest.FixtureRequest
) -> None:
    """
    In a network namespace that has loopback alone, a deployment is estimated, launched and answers.
    """
    isolated = _isolated()
    if isolated is None:
        pytest.skip("this machine gives no network namespace: it wants util-linux, iproute2 and the right to unshare")

    done = subprocess.run(
        [*isolated, sys.executable, "-m", "tests.e2e.offline", str(tmp_path), str(engines), str(tiny_model)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    shown = json.loads(done.stdout.splitlines()[-1])
    assert ["lo"] == shown["interfaces"]
    assert shown["needs"] > tiny_model.stat().st_size
    assert shown["answer"].strip()
