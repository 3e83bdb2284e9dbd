"""A vendor's command, run for real."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from motorpool_sdk.hardware import Command, Unavailable


def program(folder: Path, script: str) -> str:
    folder.mkdir(exist_ok=True)
    file = folder / "vendor-smi"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return str(folder)


def command(tmp_path: Path, script: str, **options: float) -> Command:
    folder = program(tmp_path, script)
    return Command(["vendor-smi"], folders=[folder], remedy="Install the driver", **options)  # type: ignore[arg-type]


def test_what_it_prints_is_english(tmp_path: Path) -> None:
    """
    It runs in the C locale, whatever the agent's is, and its complaints are kept apart.
    """
    assert "C x y\n" == command(tmp_path, 'echo noise >&2; echo "$LC_ALL $*"').output("x", "y")


def test_what_fails_after_printing_is_read(tmp_path: Path) -> None:
    """
    A tool that lists seven cards and fails at the eighth has listed seven.
    """
    assert "seven\n" == command(tmp_path, "echo seven; exit 15").output()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo no driver >&2; exit 9", "`vendor-smi -q` ended with 9, saying 'no driver'. Install the driver"),
        ("exec sleep 1000", "`vendor-smi -q` did not end within 0.3 s"),
        ("exec cat /dev/zero", "`vendor-smi -q` printed more than 4194304 bytes"),
        ("exec >&- 2>&-; sleep 1000", "`vendor-smi -q` did not end within 0.3 s"),
    ],
)
def test_what_is_wrong_with_it_is_told(tmp_path: Path, script: str, said: str) -> None:
    """
    A command that fails, hangs or floods is a reason, and nothing of it stays.
    """
    with pytest.raises(Unavailable) as caught:
        command(tmp_path, script, timeout_seconds=0.3 if "sleep" in script else 60).output("-q")

    assert said in str(caught.value)
    assert [] == [each for each in psutil.Process().children() if "sleep" in each.name()]


def test_a_command_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It is looked for on PATH and in the folders, which are named.
    """
    monkeypatch.setenv("PATH", str(tmp_path / "path"))

    with pytest.raises(Unavailable, match="vendor-smi is neither on PATH nor in /opt/vendor/bin"):
        Command(["vendor-smi"], folders=["/opt/vendor/bin"], remedy="").output()


def test_a_command_that_cannot_be_run(tmp_path: Path) -> None:
    """
    A file that is no program is said to be none.
    """
    tried = command(tmp_path, "true")
    (tmp_path / "vendor-smi").write_bytes(b"\x7fELF")

    with pytest.raises(Unavailable, match="cannot be run: Exec format error"):
        tried.output()


def test_one_output_serves_a_round(tmp_path: Path) -> None:
    """
    What was printed a moment ago is not asked for again, and is when it is old; a slow command's is kept longer.
    """
    now = [0.0]
    counter = tmp_path / "count"
    counter.write_text("")
    folder = program(tmp_path, f"echo x >> {counter}; cat {counter}")
    asked = Command(["vendor-smi"], folders=[folder], remedy="", fresh_seconds=1.0, clock=lambda: now[0])

    first, again = asked.output(), asked.output()
    now[0] += 1.5
    later = asked.output()

    assert ("x\n", "x\n", "x\nx\n") == (first, again, later)
