from collections.abc import Iterable
from pathlib import Path

import pytest

from motorpool_sdk.kit.__main__ import main
from motorpool_sdk.kit.verification import Row, verify
from tests.plugins.made_plugins import MakePlugin, write_plugin

FULL_LAUNCH = """
def launch(self, request):
    return Launch(argv=("/bin/true", str(request.model_path), request.served_model_name, request.listen_address,
                        str(request.port)))
Backend.launch = launch
"""


@pytest.fixture(name="make_plugin")
def make_make_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakePlugin:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def make(name: str, **options: str) -> str:
        return write_plugin(tmp_path, name, **options)

    return make


def failed(rows: Iterable[Row]) -> dict[str, str]:
    return {row.check: row.detail for row in rows if not row.passed}


def sampling(body: str) -> str:
    return f"def sample(self, device_ids):\n    {body}\nAccelerator.sample = sample"


@pytest.mark.parametrize(("kind", "code"), [("accelerator", ""), ("backend", FULL_LAUNCH)])
def test_a_good_plugin_passes_every_check(make_plugin: MakePlugin, kind: str, code: str) -> None:
    """
    Manifest, import, what it finds here, and every test of its contract are rows.
    """
    make_plugin("good", kind=kind, code=code)

    rows = list(verify("good"))

    assert {} == failed(rows)
    assert ["manifest", "import"] == [row.check for row in rows[:2]]
    assert "launch is pure" in {row.check for row in rows} or "device ids are stable" in {row.check for row in rows}


def test_what_the_machine_has_is_told(make_plugin: MakePlugin) -> None:
    """
    Devices and their use stand in the table, for a person to hold against the vendor's own tool.
    """
    make_plugin("good", kind="accelerator")

    details = {row.check: row.detail for row in verify("made-good")}

    assert "2: GPU-0 24.0 GiB, GPU-1 24.0 GiB" == details["devices"]
    assert "2 used: 1.0 GiB, 1.0 GiB" == details["samples in time"]


@pytest.mark.parametrize(
    ("body", "check", "words"),
    [
        ("import ctypes; ctypes.string_at(0)", "samples in time", "its process was ended by SIGSEGV; it was at "),
        ("import os; os._exit(3)", "samples in time", "its process exited with status 3"),
        ("import time; time.sleep(3600)", "samples in time", "did not end within 5 s"),
        ("while True: print('babble')", "samples in time", "did not end within 5 s; an agent kills it, and starts it"),
        ("import time; time.sleep(2.1); return []", "samples in time", "took 2.1 s; an agent waits 2 s and kills it"),
        ("return []", "samples in time", "not measured: GPU-0, GPU-1"),
        ("raise OSError('no driver')", "samples in time", "OSError: no driver"),
        ("return [Sample(device_id='GPU-0', used_bytes=-1)]", "samples are well formed", "used_bytes is -1"),
        ("return [Sample(device_id='GPU-9')]", "samples are well formed", "not so: Measurements are of devices that"),
    ],
)
def test_a_fault_is_a_row(make_plugin: MakePlugin, body: str, check: str, words: str) -> None:
    """
    Whatever a plugin does wrong, its row says what; nothing else of the machine is harmed.
    """
    make_plugin("bad", kind="accelerator", code=sampling(body))

    assert words in failed(verify("bad", deadline_seconds=5.0))[check]


ACCELERATOR = 'kind = "accelerator"\napi = ">=0.1,<0.2"\nprovides = "one"\nlibraries = ["libone.so.1"]\n'


@pytest.mark.parametrize(
    ("leak", "words"),
    [
        ("kept.append(open('/dev/null'))", "descriptors more are open after 100 looks"),
        ("kept.append(bytearray(65536))", "bytes more are resident after 100 looks"),
    ],
)
def test_what_leaks_is_a_row(make_plugin: MakePlugin, leak: str, words: str) -> None:
    """
    A plugin that keeps a descriptor or some memory of each look fails that check, and no other.
    """
    plain = "kept, plain = [], Accelerator.sample\n"
    make_plugin(
        "leaky",
        kind="accelerator",
        code=f"{plain}def sample(self, ids):\n    {leak}\n    return plain(self, ids)\nAccelerator.sample = sample",
    )

    ((check, told),) = failed(verify("leaky")).items()

    assert ("a hundred looks leave nothing behind", True) == (check, words in told)


def test_hardware_that_is_elsewhere(make_plugin: MakePlugin) -> None:
    """
    Where no sign of its hardware is, an agent does not start a plugin: nothing is asked of it, and nothing fails.
    """
    make_plugin("one", kind="accelerator", manifest=ACCELERATOR, first="raise OSError('no driver')")

    manifest, hardware = verify("one")

    assert ("hardware", True) == (hardware.check, hardware.passed)
    assert hardware.detail == "not in this machine, so that an agent does not start the plugin: no libone.so.1"
    assert manifest.passed


def test_hardware_that_is_here(make_plugin: MakePlugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What shows the hardware is told, and the plugin is asked as the agent would ask it.
    """
    (tmp_path / "libone.so.1").touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    make_plugin("one", kind="accelerator", manifest=ACCELERATOR)

    details = {row.check: row.detail for row in verify("one")}

    assert f"library {tmp_path / 'libone.so.1'}" == details["hardware"]
    assert "2: GPU-0 24.0 GiB, GPU-1 24.0 GiB" == details["devices"]


def test_one_fault_is_told_once(make_plugin: MakePlugin, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A driver that is not there fails most checks; its words stand at the first, and the others point there.
    """
    code = "def fingerprint(self):\n    raise OSError('no driver')\nAccelerator.fingerprint = fingerprint"
    make_plugin("bad", kind="accelerator", code=code)

    with pytest.raises(SystemExit):
        main(["verify", "bad"])

    lines = capsys.readouterr().out.splitlines()
    assert 1 == sum("OSError: no driver" in line for line in lines)
    assert any(line.endswith("as devices") for line in lines)


def test_a_failing_import(make_plugin: MakePlugin) -> None:
    """
    What cannot be imported has no further checks.
    """
    make_plugin("bad", first="import nothing_of_this_name")

    rows = list(verify("bad"))

    assert {"import": "ModuleNotFoundError: No module named 'nothing_of_this_name'"} == failed(rows)
    assert 2 == len(rows)


def test_a_crash_at_import_shows_the_last_words(make_plugin: MakePlugin) -> None:
    """
    A process that dies at import is told with what it printed last.
    """
    make_plugin("bad", first="import os; print('driver too old', flush=True); os._exit(7)")

    assert {"import": "its process exited with status 7; it last said: driver too old"} == failed(verify("bad"))


def test_a_wrong_manifest(make_plugin: MakePlugin) -> None:
    """
    A manifest for another SDK is one row that says so.
    """
    make_plugin("bad", manifest='kind = "backend"\napi = ">=9"\nprovides = "bad"\n')

    assert "wants SDK >=9, and this agent has 0.1" in failed(verify("bad"))["manifest"]


@pytest.mark.parametrize(
    ("code", "exit_code", "last"),
    [(FULL_LAUNCH, 0, "15 of 15 checks passed"), (f"{FULL_LAUNCH}\ndel Backend.check", 1, "14 of 15 checks passed")],
)
def test_the_command(
    make_plugin: MakePlugin, capsys: pytest.CaptureFixture[str], code: str, exit_code: int, last: str
) -> None:
    """
    A table on stdout, its sum as the last line, and an exit code for scripts.
    """
    make_plugin("one", code=code)

    with pytest.raises(SystemExit) as ended:
        main(["verify", "one"])

    lines = capsys.readouterr().out.splitlines()
    assert exit_code == ended.value.code
    assert ["PLUGIN", "RESULT", "CHECK"] == lines[0].split()
    assert last == lines[-1]


def test_no_such_plugin(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A name that nothing answers to is exit code 2.
    """
    with pytest.raises(SystemExit) as ended:
        main(["verify", "nothing_of_this_name"])

    assert 2 == ended.value.code
    assert "no plugin nothing_of_this_name is installed" in capsys.readouterr().err


def test_new_says_what_to_do_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    `new` prints the folder and the commands that follow; a second one of that name is exit code 2.
    """
    for code, words in ((0, "motorpool-sdk verify acme"), (2, "exists already")):
        with pytest.raises(SystemExit) as ended:
            main(["new", "backend", "acme", "--into", str(tmp_path)])
        assert code == ended.value.code
        printed = capsys.readouterr()
        assert words in printed.out + printed.err
