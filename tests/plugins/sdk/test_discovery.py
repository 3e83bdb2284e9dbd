"""Finding plugins by metadata and manifest alone."""

import sys
from pathlib import Path

import pytest

from motorpool_sdk import Found, discover
from tests.plugins.made_plugins import write_plugin


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def found() -> dict[str, Found]:
    return {plugin.entry_point: plugin for plugin in discover()}


def test_an_installed_plugin_is_found_unimported(site: Path) -> None:
    """
    A plugin is found with its distribution, version, folder and manifest, and is not imported.
    """
    package = write_plugin(site, "good", first="raise SystemExit('imported')")

    plugin = found()["good"]

    assert ("made-good", "1.2", package, str(site)) == (
        plugin.distribution,
        plugin.version,
        plugin.package,
        plugin.root,
    )
    assert plugin.manifest is not None
    assert "good" == plugin.manifest.provides
    assert "" == plugin.error
    assert package not in sys.modules


def test_our_own_backend_is_found() -> None:
    """
    llama.cpp enters by the same door as strangers.
    """
    plugin = found()["llama_cpp"]

    assert "motorpool-llama-cpp" == plugin.distribution
    assert plugin.manifest is not None, plugin.error


def test_a_plugin_without_a_manifest_is_found_with_its_fault(site: Path) -> None:
    """
    A missing manifest costs the one plugin.
    """
    package = write_plugin(site, "bare")
    (site / package / "plugin.toml").unlink()
    write_plugin(site, "good")

    assert found()["bare"].manifest is None
    assert "plugin.toml: cannot be read" in found()["bare"].error
    assert found()["good"].manifest is not None


@pytest.mark.parametrize(
    ("entry_point", "message"),
    [
        ("bad = no_such_package", "names 'no_such_package', which is no installed package"),
        ("bad = made_good.plugin", "names 'made_good.plugin'; let it name a package that stands at the top level"),
        ("bad = made_good:Plugin", "let it name a package that stands at the top level"),
        ("bad = sys", "names 'sys', which is no installed package"),
    ],
)
def test_an_entry_point_to_nowhere_is_named(site: Path, entry_point: str, message: str) -> None:
    """
    An entry point that names no flat package is found with that fault.
    """
    write_plugin(site, "good")
    (site / "made_good-1.2.dist-info" / "entry_points.txt").write_text(f"[motorpool.plugins]\n{entry_point}\n")

    assert message in found()["bad"].error


def test_broken_metadata_costs_only_itself(site: Path) -> None:
    """
    A distribution whose metadata nobody can read neither hides others nor, where it names us, itself.
    """
    for name, entry_points, metadata in (
        ("binary", b"\xff\xfe[motorpool.plugins]\n", b"Name: binary\n"),
        ("syntax", b"[motorpool.plugins\nx = y = z\n]]", b"Metadata-Version: 2.1\nName: syntax\nVersion: 1\n"),
        ("nameless", b"[motorpool.plugins]\nx = y\n", b""),
    ):
        folder = site / f"{name}-1.dist-info"
        folder.mkdir()
        (folder / "entry_points.txt").write_bytes(entry_points)
        (folder / "METADATA").write_bytes(metadata)
    write_plugin(site, "good")

    assert found()["good"].manifest is not None
    assert "its metadata cannot be read" in found()["nameless-1.dist-info"].error


def test_the_first_of_a_name_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Of two installations of one distribution the one that Python would import is found.
    """
    for folder in ("shadowed", "first"):
        write_plugin(tmp_path / folder, "good")
        monkeypatch.syspath_prepend(tmp_path / folder)

    assert [str(tmp_path / "first")] == [plugin.root for plugin in discover() if plugin.entry_point == "good"]
