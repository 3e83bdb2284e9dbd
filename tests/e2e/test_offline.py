"""Nothing but loopback is needed to estimate and serve a model that is on the node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import cannot_run_here
from tests.e2e.conftest import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


# Root needs no user namespace, which a chroot or a container may forbid where it allows the other.
ISOLATED = ["unshare", "--net", *(() if os.geteuid() == 0 else ("--map-root-user",))]


@pytest.mark.promise("P12")
@pytest.mark.needs("ip", "unshare")
def test_a_local_model_is_estimated_and_served_without_a_network(
    tmp_path: Path, engines: Path, tiny_model: Path
) -> None:
    """
    In a network namespace that has loopback alone, a deployment is estimated, launched and answers.
    """
    tried = subprocess.run([*ISOLATED, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        cannot_run_here(f"this machine gives no network namespace: {tried.stderr.strip()}")

    done = subprocess.run(
        [*ISOLATED, sys.executable, "-m", "tests.e2e.offline", str(tmp_path), str(engines), str(tiny_model)],
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
