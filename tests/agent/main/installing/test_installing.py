"""``motorpool-agent install`` and ``uninstall``, told and not done; tests/e2e/test_systemd.py does it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from motorpool_agent import policy
from motorpool_agent.config import load
from motorpool_agent.main.commands import app
from motorpool_agent.main.installing.places import Wanted, device_groups, policy_text, settings_text, unit_text
from tests.e2e.conftest import ROOT

DEPLOYED = ROOT / "deploy" / "systemd"


def install(*options: str, standard_input: str = "") -> tuple[int, str]:
    done = CliRunner().invoke(app, ["install", "--dry-run", *options], input=standard_input)
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("unit", "user"),
    [
        ("motorpool-agent.service", "motorpool"),
        ("motorpool-launcher.service", "motorpool"),
        ("motorpool-launcher.socket", "motorpool"),
    ],
)
def test_units_in_deploy_are_those_that_are_installed(unit: str, user: str) -> None:
    """
    deploy/systemd has each unit as it is for programs in /opt/motorpool.
    """
    assert unit_text(unit, user, Path("/opt/motorpool/bin")) == (DEPLOYED / unit).read_text(encoding="utf-8")


def test_an_agent_that_is_not_roots_gets_a_launcher_and_a_policy(tmp_path: Path) -> None:
    """
    Its units are written, its socket is started before the agent, and the policy is one that can be followed.
    """
    status, told = install("--server", "c.example:7400", "--models", "/srv/models")
    file = tmp_path / "policy.toml"
    file.write_text(policy_text(["/srv/models"]), encoding="utf-8")

    assert 0 == status
    assert "write: /etc/systemd/system/motorpool-launcher.socket" in told
    assert 'roots = ["/srv/models"]' in told
    assert told.index("restart motorpool-launcher.socket") < told.index("restart motorpool-agent.service")
    assert policy.Policy() != policy.read(file, required=True)


def test_the_agent_is_in_the_groups_of_accelerators(tmp_path: Path) -> None:
    """
    Whoever is no root needs the groups that own device nodes; a plain file, and what is open to all, have none to tell.
    """
    (tmp_path / "davinci0").touch()

    assert [] == device_groups([str(tmp_path / "*"), "/dev/null"])
    assert "SupplementaryGroups=render video" in unit_text("motorpool-agent.service", "a", groups=["render", "video"])


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
        ("/opt/x/bin", "ExecStart=/opt/x/bin/motorpool-agent run --config /etc/motorpool/agent.toml"),
        ("/opt/50 %/a$b", 'ExecStart="/opt/50 %%/a$$b/motorpool-agent" run --config /etc/motorpool/agent.toml'),
    ],
)
def test_a_program_is_named_as_systemd_reads_it(program: str, line: str) -> None:
    """
    Spaces, percent and dollar signs of a path stay what they are.
    """
    assert line in unit_text("motorpool-agent.service", "root", Path(program)).splitlines()


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
