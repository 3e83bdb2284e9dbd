"""The README's plugin is a plugin."""

import re
import tomllib
from pathlib import Path

import pytest

from motorpool_sdk import LaunchRequest, Parameter, discover
from motorpool_sdk.loading import load_backend
from motorpool_sdk.testing import BackendContract

README = Path(__file__).parents[3] / "plugins" / "sdk" / "README.md"


@pytest.fixture
def files() -> dict[str, str]:
    """The README's files by name."""
    return dict(re.findall(r"^`([\w/.]+)`\n```\w+\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL))


@pytest.fixture
def installed(files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin, as pip would have it."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    project = tomllib.loads(files["pyproject.toml"])["project"]
    info = tmp_path / "motorpool_acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    entries = "\n".join(f"{key} = {value}" for key, value in project["entry-points"]["motorpool.plugins"].items())
    (info / "entry_points.txt").write_text(f"[motorpool.plugins]\n{entries}\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("installed")
def test_the_examples_plugin_is_found_and_keeps_the_contract(files: dict[str, str]) -> None:
    """
    What the README says to write is found, says nothing unknown, and passes every test of the contract.
    """
    (found,) = [plugin for plugin in discover() if plugin.entry_point == "acme"]
    assert found.manifest is not None, found.error
    assert ("acme", (), ("ACME_API_KEY",)) == (
        found.manifest.provides,
        found.manifest.findings,
        found.manifest.sets_env,
    )
    contract: dict[str, type[BackendContract]] = {}
    exec(files["test_acme.py"], contract)  # the README's own test
    for name in vars(BackendContract):
        if name.startswith("test_"):
            getattr(contract["TestAcme"](), name)()


@pytest.mark.usefixtures("installed")
def test_the_examples_check_finds_unknown_parameters() -> None:
    """
    The README's check is one that finds something.
    """
    request = LaunchRequest(
        backend_version="2.1",
        framework="cpu",
        model_path=Path("/m"),
        served_model_name="m",
        listen_address="127.0.0.1",
        port=1,
        parameters=(Parameter(option="--zork", known=False),),
    )

    (finding,) = load_backend("motorpool_acme").check(request)
    assert "acme has no option --zork; leave it out" == finding.message


def test_every_key_of_the_manifest_is_told(files: dict[str, str]) -> None:
    """
    The README names each key that a manifest may have.
    """
    told = files["motorpool_acme/plugin.toml"]
    for key in ("kind", "api", "provides", "module", "aliases", "pci_ids", "libraries", "library_paths"):
        assert f"{key} = " in told
    for key in ("device_nodes", "reads_env", "sets_env"):
        assert f"{key} = " in told
