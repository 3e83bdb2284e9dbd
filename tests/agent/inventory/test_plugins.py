"""Which plugins there are, which may be asked, and what they answer."""

import sys
from pathlib import Path

import pytest

from motorpool_agent.inventory import PluginError, PluginState
from tests.agent.inventory.asking import launch_request
from tests.agent.inventory.conftest import OpenTable
from tests.plugins.made_plugins import MakePlugin


async def test_a_backend_is_asked_for_its_profile_at_start(make_plugin: MakePlugin, open_table: OpenTable) -> None:
    """
    An installed backend is ready with its profile once the table is.
    """
    make_plugin("good")
    table = await open_table("good")

    (status,) = [each for each in table.statuses() if each.plugin_id == "good"]
    assert (PluginState.READY, "") == (status.state, status.last_error)
    assert ("made-good", "1.2", "backend", "good") == (
        status.distribution,
        status.version,
        status.kind,
        status.provides,
    )
    assert ["good"] == list(table.profiles())
    assert table.profile("good") == table.profiles()["good"]


async def test_check_and_launch_reach_the_plugin(make_plugin: MakePlugin, open_table: OpenTable) -> None:
    """
    What the plugin's process says is what the agent gets.
    """
    make_plugin(
        "good",
        code="""
        from motorpool_sdk import Finding, Severity
        Backend.check = lambda self, request: [
            Finding(severity=Severity.NOTE, reason="SEEN", message=request.model_path.name)
        ]
        """,
    )
    table = await open_table("good")

    findings = await table.check("good", launch_request())
    launch = await table.launch("good", launch_request())

    assert [("SEEN", "m.gguf")] == [(each.reason, each.message) for each in findings]
    assert ("/bin/true", "4001") == launch.argv


@pytest.mark.promise("P5")
async def test_the_agent_imports_no_plugin(make_plugin: MakePlugin, open_table: OpenTable) -> None:
    """
    Plugins are found, asked and launched with, and none is imported into the agent's process.
    """
    make_plugin("good")
    before = set(sys.modules)
    table = await open_table("good", "llama_cpp")
    await table.launch("good", launch_request())

    assert {"good", "llama_cpp"} == set(table.profiles())
    assert [] == [module for module in set(sys.modules) - before if module.startswith(("made_", "motorpool_llama_cpp"))]


async def test_a_plugin_that_is_not_allowed_is_never_loaded(
    make_plugin: MakePlugin, open_table: OpenTable, tmp_path: Path
) -> None:
    """
    A blocked plugin is listed as such, and none of its code runs; block wins over allow.
    """
    trace = tmp_path / "loaded"
    make_plugin("left_out", first=f"open({str(trace)!r}, 'w').close()")
    make_plugin("blocked", first=f"open({str(trace)!r}, 'w').close()")
    make_plugin("good")
    table = await open_table("good", "blocked", block=("made-blocked",))

    states = {status.plugin_id: status.state for status in table.statuses()}
    assert PluginState.BLOCKED is states["left_out"] is states["blocked"]
    assert PluginState.READY is states["good"]
    assert not trace.exists()
    with pytest.raises(PluginError, match="does not allow it"):
        await table.launch("blocked", launch_request())


async def test_a_plugin_with_a_broken_manifest_is_incompatible(make_plugin: MakePlugin, open_table: OpenTable) -> None:
    """
    A manifest that wants another SDK costs that plugin, and its status says what to do.
    """
    make_plugin("newer", manifest='kind = "backend"\napi = ">=7"\nprovides = "newer"\n')
    make_plugin("good")
    table = await open_table("good", "newer")

    (status,) = [each for each in table.statuses() if each.plugin_id == "newer"]
    assert PluginState.INCOMPATIBLE is status.state
    assert "plugin.toml: api: wants SDK >=7" in status.last_error
    assert ["good"] == list(table.profiles())


async def test_two_plugins_for_one_backend_are_told_apart(make_plugin: MakePlugin, open_table: OpenTable) -> None:
    """
    The first of two plugins serves the backend; the second says which one does.
    """
    make_plugin("first", provides="shared")
    make_plugin("second", provides="shared")
    table = await open_table("shared")

    states = {status.plugin_id: status for status in table.statuses() if status.provides == "shared"}
    assert PluginState.READY is states["first"].state
    assert PluginState.INCOMPATIBLE is states["second"].state
    assert "backend shared is served by made-first already" in states["second"].last_error


async def test_an_unknown_backend_is_named_with_those_there_are(make_plugin: MakePlugin, open_table: OpenTable) -> None:
    """
    Asking for a backend that nobody serves names the backends that are served.
    """
    make_plugin("good")
    table = await open_table("good")

    with pytest.raises(PluginError, match=r"backend nope; there are: good\.") as caught:
        await table.check("nope", launch_request())
    assert "PLUGIN_UNKNOWN" == caught.value.reason


async def test_a_refresh_asks_again(make_plugin: MakePlugin, open_table: OpenTable, tmp_path: Path) -> None:
    """
    A refresh takes over another profile, tells so, and tells nothing when the profile is the same.
    """
    said = tmp_path / "said"
    said.write_text("1.0")
    make_plugin(
        "good",
        code=f"""
        from dataclasses import replace
        plain = Backend.profile
        def told(self):
            version = Version(version=open({str(said)!r}).read(), executable="/bin/true")
            return replace(plain(self), versions=(version,))
        Backend.profile = told
        """,
    )
    told: list[str] = []
    table = await open_table("good", notify=lambda: told.append("changed"))
    told.clear()

    await table.refresh()
    assert [] == told
    said.write_text("2.0")
    await table.refresh()
    assert ["changed"] == told
    assert ["2.0"] == [version.version for version in table.profiles()["good"].versions]


async def test_a_launch_sets_declared_names_only(make_plugin: MakePlugin, open_table: OpenTable) -> None:
    """
    An environment name that the manifest does not declare stops the launch.
    """
    make_plugin(
        "sly",
        code='Backend.launch = lambda self, request: Launch(argv=("/bin/true",), env={"LD_PRELOAD": "/tmp/x.so"})',
    )
    table = await open_table("sly")

    with pytest.raises(PluginError, match="env sets LD_PRELOAD, which the manifest's sets_env does not list"):
        await table.launch("sly", launch_request())


async def test_a_launch_never_shows_the_key(make_plugin: MakePlugin, open_table: OpenTable) -> None:
    """
    An API key among the arguments stops the launch, and the message does not repeat it.
    """
    make_plugin("leaky", code='Backend.launch = lambda self, request: Launch(argv=("x", "--key=" + request.api_key))')
    table = await open_table("leaky")

    with pytest.raises(PluginError, match="argv shows the API key") as caught:
        await table.launch("leaky", launch_request())
    assert "sesame" not in str(caught.value)
