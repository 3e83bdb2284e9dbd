"""``motorpool-agent install`` and ``uninstall``, told and not done; tests/e2e/test_systemd.py does it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from motorpool_agent.config import load
from motorpool_agent.main.commands import app
from motorpool_agent.main.installing.places import Wanted, settings_text, unit_text
from tests.e2e.conftest import ROOT

UNIT = ROOT / "deploy" / "systemd" / "motorpool-agent.service"


def install(*options: str, standard_input: str = "") -> tuple[int, str]:
    done = CliRunner().invoke(app, ["install", "--dry-run", *options], input=standard_input)
    return done.exit_code, done.output


def test_the_unit_in_deploy_is_the_one_that_is_installed() -> None:
    """
    deploy/systemd has the unit as it is for a program in /opt/motorpool.
    """
    assert unit_text("root", Path("/opt/motorpool/bin/motorpool-agent")) == UNIT.read_text(encoding="utf-8")


def test_nothing_is_done_and_all_is_told_without_secrets() -> None:
    """
    --dry-run says which files would be written with what in them; a token's file is named and not shown.
    """
    status, told = install(
        *("--server", "controller.example:7400", "--node-name", "a", "--label", "rack=1", "--token-file", "-"),
        standard_input="mpj_secret\n",
    )

    assert 0 == status
    assert "write: /etc/motorpool/join-token" in told
    assert "mpj_secret" not in told
    assert 'server = "controller.example:7400"' in told
    assert "write: /etc/systemd/system/motorpool-agent.service" in told
    assert "run: systemctl restart motorpool-agent.service" in told
    assert not Path("/etc/motorpool/join-token").exists()


def test_the_agents_file_is_one_that_the_agent_reads(tmp_path: Path) -> None:
    """
    Whatever may be asked for is a setting, quoted as TOML has it.
    """
    wanted = Wanted(server="[fd00::1]:7400", node_name="a", labels={"zone": "x", "a.b/c": "1"})
    file = tmp_path / "agent.toml"
    file.write_text(settings_text(wanted), encoding="utf-8")

    config = load({}, environment={}, file=file)

    assert ("[fd00::1]:7400", "a", {"zone": "x", "a.b/c": "1"}) == (config.server, config.node_name, config.labels)
    assert (Path("/var/lib/motorpool/agent"), Path("/var/cache/motorpool")) == (config.data_dir, config.cache_dir)


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("/opt/x/bin/motorpool-agent", "ExecStart=/opt/x/bin/motorpool-agent run --config /etc/motorpool/agent.toml"),
        ("/opt/50 %/a$b", 'ExecStart="/opt/50 %%/a$$b" run --config /etc/motorpool/agent.toml'),
    ],
)
def test_a_program_is_named_as_systemd_reads_it(program: str, line: str) -> None:
    """
    Spaces, percent and dollar signs of a path stay what they are.
    """
    assert line in unit_text("root", Path(program)).splitlines()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--server", "controller.example"), "give host:port"),
        (("--user", "no user"), "give a user's name"),
        (("--label", "x"), "give key=value"),
        (("--node-name", "A_B"), "lower-case letters"),
        (("--token-file", "/nowhere/token"), "cannot be read"),
        (("--token-file", "-"), "holds no join token"),
    ],
)
def test_what_may_not_be_is_refused_before_anything_is_done(options: tuple[str, ...], said: str) -> None:
    """
    A wrong option is usage (2), and says what is allowed.
    """
    status, told = install(*options)

    assert 2 == status
    assert said in told
