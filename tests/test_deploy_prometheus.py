"""The scrape configuration and alerts of deploy/prometheus, as Prometheus's own tool reads them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.tables import documented

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "prometheus"


def promtool(*words: str) -> str:
    done = subprocess.run(["promtool", *words], cwd=FOLDER, capture_output=True, text=True, check=False, timeout=60)
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


@pytest.mark.needs("promtool")
def test_prometheus_takes_the_configuration_and_its_alerts() -> None:
    """
    Its own checker finds nothing wrong in either.
    """
    assert "SUCCESS" in promtool("check", "config", "prometheus.yml")


@pytest.mark.needs("promtool")
def test_alerts_ring_when_they_should() -> None:
    """
    A fleet that is well has none; without a leader, and with nodes that are gone, there is the one that says so.
    """
    assert "SUCCESS" in promtool("test", "rules", "alerts.test.yml")


def test_alerts_ask_for_metrics_that_there_are() -> None:
    """
    Each metric in an alert stands in a page of metrics.
    """
    rules = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
    asked = {name for rule in rules for name in re.findall(r"motorpool_\w+", rule["expr"])}
    known = {name for page in ("controller", "agent") for name in documented(ROOT / page / "OBSERVING.md")}

    assert asked
    assert {name.removesuffix("_bucket") for name in asked} <= known
