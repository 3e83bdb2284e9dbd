"""A broken, hanging, crashing or lying plugin costs its own figures and nothing else."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from motorpool_agent.inventory import PluginError, PluginState, PluginTable
from tests.agent.inventory.asking import launch_request, until
from tests.agent.inventory.conftest import PATIENCE, OpenTable
from tests.plugins.made_plugins import MakePlugin

pytestmark = pytest.mark.promise("P5")

HANG = "import time; time.sleep(3600)"
SEGFAULT = "import ctypes; ctypes.string_at(0)"
HANG_IN_C = "import ctypes; ctypes.PyDLL(None).sleep(3600)"  # Holds the interpreter's lock.


def state(table: PluginTable, plugin: str) -> PluginState:
    return next(status.state for status in table.statuses() if status.plugin_id == plugin)


def error(table: PluginTable, plugin: str) -> str:
    return next(status.last_error for status in table.statuses() if status.plugin_id == plugin)


def launching(body: str) -> str:
    return f"def launch(self, request):\n    {body}\nBackend.launch = launch"


@pytest.mark.parametrize(
    ("body", "reason", "message"),
    [
        ("import os; os._exit(3)", "PLUGIN_CRASHED", "exited with status 3"),
        (SEGFAULT, "PLUGIN_CRASHED", "was ended by SIGSEGV"),
        (HANG, "PLUGIN_TIMEOUT", "did not answer launch within"),
        (HANG_IN_C, "PLUGIN_TIMEOUT", "did not answer launch within"),
        ("raise RuntimeError('no such card')", "PLUGIN_FAILED", "RuntimeError: no such card"),
        ("return None", "PLUGIN_FAILED", "Expected `object`, got `null`"),
        ("return Launch(argv='a string')", "PLUGIN_FAILED", r"Expected `array`, got `str` - at `\$.argv`"),
        ("return Launch(argv=(1, 2))", "PLUGIN_FAILED", r"Expected `str`, got `int` - at `\$.argv"),
        ("return Launch(argv=())", "PLUGIN_FAILED", "argv names no program"),
        ("return object()", "PLUGIN_FAILED", "has no form in JSON"),
        ("return Launch(argv=('x' * 2**23,))", "PLUGIN_FAILED", "is too long"),
    ],
)
async def test_a_bad_launch_is_an_error_of_that_launch(
    make_plugin: MakePlugin, open_table: OpenTable, body: str, reason: str, message: str
) -> None:
    """
    Whatever a plugin does instead of answering, the caller gets a reason, and another plugin answers as before.
    """
    make_plugin("bad", code=launching(body))
    make_plugin("good")
    table = await open_table("good", "bad", patience=replace(PATIENCE, call_seconds=1.0))

    with pytest.raises(PluginError, match=message) as caught:
        await table.launch("bad", launch_request())
    assert reason == caught.value.reason
    assert ("/bin/true", "4001") == (await table.launch("good", launch_request())).argv
    assert PluginState.READY is state(table, "good")


async def test_a_crash_once_is_forgiven(make_plugin: MakePlugin, open_table: OpenTable, tmp_path: Path) -> None:
    """
    A plugin that crashed is started again, answers, and is ready; the crash stays counted.
    """
    crashed = tmp_path / "crashed"
    make_plugin(
        "shaky",
        code=f"""
        import os
        good = Backend.launch
        def launch(self, request):
            if not os.path.exists({str(crashed)!r}):
                open({str(crashed)!r}, "w").close()
                os._exit(9)
            return good(self, request)
        Backend.launch = launch
        """,
    )
    table = await open_table("shaky")

    with pytest.raises(PluginError, match="exited with status 9"):
        await table.launch("shaky", launch_request())
    assert ("/bin/true", "4001") == (await table.launch("shaky", launch_request())).argv
    await until(lambda: state(table, "shaky") is PluginState.READY)
    (failures,) = [status.failures for status in table.statuses() if status.plugin_id == "shaky"]
    assert 1 == failures


async def test_a_plugin_that_crashes_at_every_launch_is_given_up(
    make_plugin: MakePlugin, open_table: OpenTable
) -> None:
    """
    After five failures in a row a plugin is quarantined, offers nothing, and says why; answers to other questions in
    between do not redeem it.
    """
    make_plugin("bad", code=launching("import os; os._exit(7)"))
    table = await open_table("bad")

    for _ in range(5):
        await until(lambda: "bad" in table.profiles())
        with pytest.raises(PluginError, match="exited with status 7"):
            await table.launch("bad", launch_request())
        if state(table, "bad") is not PluginState.QUARANTINED:
            await until(lambda: state(table, "bad") is PluginState.READY)

    assert PluginState.QUARANTINED is state(table, "bad")
    assert {} == table.profiles()
    with pytest.raises(PluginError, match="exited with status 7") as caught:
        await table.launch("bad", launch_request())
    assert "PLUGIN_QUARANTINED" == caught.value.reason


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ("raise ImportError('libvendor.so: cannot open')", "ImportError: libvendor.so: cannot open"),
        ("import os; os._exit(4)", "exited with status 4"),
        (SEGFAULT, "was ended by SIGSEGV"),
        ("import sys; sys.exit('goodbye')", "exited with status 1; it last said: goodbye"),
    ],
)
async def test_a_plugin_that_cannot_be_loaded_is_quarantined(
    make_plugin: MakePlugin, open_table: OpenTable, first: str, message: str
) -> None:
    """
    A plugin whose import fails five times is given up, and its status tells the reason.
    """
    make_plugin("bad", first=first)
    table = await open_table("bad")

    await until(lambda: state(table, "bad") is PluginState.QUARANTINED)
    assert message in error(table, "bad")
    assert {} == table.profiles()


async def test_an_import_that_hangs_is_cut_off(make_plugin: MakePlugin, open_table: OpenTable) -> None:
    """
    A plugin that never finishes its import is killed, and holds up nobody else.
    """
    make_plugin("slow", first=HANG)
    make_plugin("good")
    table = await open_table("good", "slow", patience=replace(PATIENCE, start_seconds=1.0, failures_in_a_row=1))

    assert PluginState.QUARANTINED is state(table, "slow")
    assert "did not answer loading within 1 s" in error(table, "slow")
    assert PluginState.READY is state(table, "good")


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        ("motorpool_register_backend", "unknown hook 'motorpool_register_backend'"),
        ("motorpool_register_accelerators", "motorpool_register_backends registered 0 plugins"),
    ],
)
async def test_a_misspelt_hook_is_named(
    make_plugin: MakePlugin, open_table: OpenTable, hook: str, message: str
) -> None:
    """
    A plugin whose hook nobody calls says so.
    """
    make_plugin(
        "bad",
        code=f"""
        del motorpool_register_backends
        @hookimpl
        def {hook}(register):
            pass
        """,
    )
    table = await open_table("bad", patience=replace(PATIENCE, failures_in_a_row=1))

    assert message in error(table, "bad")


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ("replace(plain, backend='vllm')", "backend is 'vllm', and the manifest provides 'bad'"),
        ("replace(plain, rules='mine')", "rules is 'mine'"),
        ("replace(plain, versions=())", "versions is empty"),
        ("replace(plain, start_timeout_seconds=float('nan'))", "Expected `float`, got `null`"),
        ("replace(plain, memory_model='huge')", "Invalid enum value 'huge'"),
        ("{'backend': 'bad'}", "missing required field"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
async def test_a_lying_profile_is_not_taken(
    make_plugin: MakePlugin, open_table: OpenTable, profile: str, message: str
) -> None:
    """
    A profile that a controller could not use is no profile: the plugin is degraded and says which field.
    """
    make_plugin(
        "bad",
        code=f"""
        from dataclasses import replace
        honest = Backend.profile
        def profile(self):
            plain = honest(self)
            return {profile}
        Backend.profile = profile
        """,
    )
    table = await open_table("bad")

    assert PluginState.DEGRADED is state(table, "bad")
    assert message in error(table, "bad")
    assert {} == table.profiles()


async def test_what_a_plugin_prints_disturbs_nobody(make_plugin: MakePlugin, open_table: OpenTable) -> None:
    """
    A plugin that floods standard output and error, from C too, still answers, and the log stays bounded.
    """
    make_plugin(
        "loud",
        first="""
        import os, sys
        for _ in range(2000):
            print("shouting " * 20)
            print("screaming " * 20, file=sys.stderr)
        os.write(1, b"no newline " * 100000)
        """,
    )
    table = await open_table("loud")

    assert PluginState.READY is state(table, "loud")


async def test_a_caller_that_gives_up_harms_no_later_call(make_plugin: MakePlugin, open_table: OpenTable) -> None:
    """
    A cancelled call's late answer is nobody else's.
    """
    make_plugin(
        "slow",
        code="""
        import time
        def check(self, request):
            time.sleep(0.3)
            return ()
        Backend.check = check
        """,
    )
    table = await open_table("slow")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await table.check("slow", launch_request())
    assert ("/bin/true", "4001") == (await table.launch("slow", launch_request())).argv
