from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from motorpool_cli.main import app
from tests.cli.authority import Authority
from tests.cli.controller import Controller
from tests.cli.motorpool import Motorpool


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test reads the client file of whoever runs it."""
    for key in ("CONFIG", "CONTEXT", "SERVER", "CA_FILE", "TOKEN"):
        monkeypatch.delenv(f"MOTORPOOL_{key}", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TZ", "UTC")


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def controller(authority: Authority, tmp_path: Path) -> Iterator[Controller]:
    made = Controller(authority, tmp_path)
    yield made
    made.close()


@pytest.fixture
def motorpool(controller: Controller) -> Motorpool:
    """The command in this process, with the controller's client file."""

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, ["--config", str(controller.client_file), *words])

    return run
