"""``motorpool-controller install``, told and not done; tests/e2e/test_systemd_controller.py does it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from motorpool_controller import config
from motorpool_controller.install_commands import settings_text, unit_text
from motorpool_controller.main import app
from tests.e2e.conftest import ROOT

UNIT = ROOT / "deploy" / "systemd" / "motorpool-controller.service"


def test_the_unit_in_deploy_is_the_one_that_is_installed() -> None:
    """
    deploy/systemd has the unit as it is for a program in /opt/motorpool.
    """
    assert unit_text("motorpool", Path("/opt/motorpool/bin/motorpool-controller")) == UNIT.read_text(encoding="utf-8")


def test_the_file_is_one_that_the_controller_reads(tmp_path: Path) -> None:
    """
    What was asked for is a setting, quoted as TOML has it.
    """
    file = tmp_path / "controller.toml"
    file.write_text(settings_text({"listen": "127.0.0.1:1", "advertise": ["a.example", "b.example"]}), encoding="utf-8")

    settings = config.load({}, environment={}, file=file)

    assert ("127.0.0.1:1", ("a.example", "b.example")) == (str(settings.listen), settings.advertise)
    assert Path("/var/lib/motorpool/controller") == settings.data_dir


@pytest.mark.parametrize(
    ("options", "said"), [(("--listen", "nowhere"), "nowhere"), (("--user", "no user"), "lower-case letters")]
)
def test_what_may_not_be_is_refused_before_anything_is_done(options: tuple[str, ...], said: str) -> None:
    """
    A wrong option is usage (2), and says what is allowed.
    """
    done = CliRunner().invoke(app, ["install", "--dry-run", *options])

    assert 2 == done.exit_code
    assert said in done.output


def test_all_is_told_and_nothing_done() -> None:
    """
    --dry-run says what would be written and run.
    """
    done = CliRunner().invoke(app, ["install", "--dry-run"])

    assert 0 == done.exit_code
    assert "write: /etc/systemd/system/motorpool-controller.service" in done.output
    assert "run: systemctl restart motorpool-controller.service" in done.output
