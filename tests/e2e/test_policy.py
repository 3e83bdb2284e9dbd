"""A node whose operator wrote down what may run on it, and a controller that wants more."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool import v1
from tests.e2e.chat import ask
from tests.e2e.fleet import Fleet

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.promise("P6")]


def test_a_node_runs_nothing_outside_its_policy(fleet: Fleet, tiny_model: Path, tmp_path: Path) -> None:
    """
    A model outside the roots is not even read; a program that is not named is not run, where its image or line is
    missing; and what the operator allows runs at once, with no restart.
    """
    policy = tmp_path / "policy.toml"
    policy.write_text('roots = ["/srv/no-such-models"]\n')
    fleet.start_agent("a", "--policy-file", str(policy))

    done = fleet.command("motorpool", "deploy", "tiny", "--model", str(tiny_model), "--wait", check=False)

    assert 1 == done.returncode
    assert "POLICY_DENIED" in done.stderr
    assert f"allow it in {policy}: roots" in done.stderr
    fleet.delete("tiny")

    policy.write_text(f'roots = ["{tiny_model.resolve().parent}"]\n')
    fleet.deploy("tiny", tiny_model)
    fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)

    assert ask(fleet.credentials("tiny"))


def test_a_declared_program_has_to_be_named(fleet: Fleet, tiny_model: Path, tmp_path: Path) -> None:
    """
    Whoever holds the controller declares a shell: the node refuses it, by name, and says which line would let it.
    """
    policy = tmp_path / "policy.toml"
    policy.write_text(f'roots = ["{tiny_model.resolve().parent}"]\n')
    declaration = tmp_path / "backend.yaml"
    loot = tmp_path / "loot"
    declaration.write_text(
        f"""
        name: shell
        health_path: /health
        claim: {{memory_bytes: 64MiB}}
        versions:
        - version: "1"
          command: [/bin/sh, -c, "touch {loot}; sleep 60", "{{{{port}}}}"]
        """
    )
    fleet.start_agent("a", "--policy-file", str(policy))
    fleet.command("motorpool", "backends", "apply", "-f", str(declaration))

    done = fleet.command(
        "motorpool",
        *("deploy", "loot", "--model", str(tiny_model), "--backend", "shell", "--wait", "--timeout", "60s"),
        check=False,
    )

    assert 1 == done.returncode
    assert "POLICY_DENIED" in done.stderr
    assert "backends.shell.executables" in done.stderr
    assert not loot.exists()
    fleet.delete("loot")
