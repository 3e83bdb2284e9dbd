"""Asking an installed plugin, on this machine, what an agent would ask: each check in a process, with a deadline."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from motorpool_sdk.discovery import Found, discover
from motorpool_sdk.manifest import Manifest
from motorpool_sdk.presence import looked_for, signs

# What an agent waits for a list of devices, and then some for the import.
DEADLINE_SECONDS = 30.0
# A library is compiled, and calls that hang are waited for.
SCENARIO_SECONDS = 90.0
# What a process of scenarios is told: the author's file, the package, and where to tell how each ended.
SCENARIOS, PACKAGE, TELLS = "MOTORPOOL_SDK_SCENARIOS", "MOTORPOOL_SDK_PACKAGE", "MOTORPOOL_SDK_TELLS"
# Of the environment an agent passes these on, and what the manifest's reads_env names.
PASSED_ON = (
    *("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH"),
    *("PYTHONPATH", "TMPDIR", "TZ", "VIRTUAL_ENV"),
)


_READ_BYTES, _TAIL_BYTES = 65536, 4096
# Of what faulthandler prints, the newest call.
_CRASHED_AT = re.compile(r'most recent call first\):\s+File "([^"]+)", line (\d+)')


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of one check."""

    plugin: str
    check: str
    passed: bool
    detail: str


class Outcome(msgspec.Struct):
    """A line of the checking process: a check that begins (``passed`` is None), or how it ended."""

    check: str
    passed: bool | None = None
    detail: str = ""


def verify(
    plugin: str = "", deadline_seconds: float = DEADLINE_SECONDS, scenarios: Path | None = None
) -> Iterator[Row]:
    """Yield a row for every check of the installed plugins, or of those called ``plugin``, as they are done.

    ``scenarios`` is a file whose ``MADE`` makes up that plugin's vendor: then what every vendor's plugin must stand is
    asked of it too, on a machine without the hardware as well.
    """
    for found in discover():
        manifest = found.manifest
        names = {found.entry_point, found.distribution, found.package, manifest.provides if manifest else ""}
        if plugin and plugin not in names:
            continue
        if manifest is None:
            yield Row(plugin=found.entry_point, check="manifest", passed=False, detail=found.error)
            continue
        detail = f"{manifest.kind} {manifest.provides}, for SDK {manifest.api}"
        detail = "; ".join(filter(None, (detail, manifest.deprecation)))
        yield Row(plugin=found.entry_point, check="manifest", passed=True, detail=detail)
        if scenarios is not None:
            for outcome in _stood(found, scenarios):
                yield _row(found, outcome)
        if wanted := looked_for(manifest):
            seen = signs(manifest)
            none = f"not in this machine, so that an agent does not start the plugin: no {', no '.join(wanted)}"
            detail = "; ".join(seen) or none
            yield Row(plugin=found.entry_point, check="hardware", passed=True, detail=detail)
            if not seen:
                continue
        checks = ("motorpool_sdk.kit.checks", found.package, manifest.kind)
        for outcome in _outcomes(_Asked(*checks, env=_environment(manifest)), "import", deadline_seconds):
            yield _row(found, outcome)


def _row(found: Found, outcome: Outcome) -> Row:
    return Row(plugin=found.entry_point, check=outcome.check, passed=bool(outcome.passed), detail=outcome.detail)


def _stood(found: Found, scenarios: Path) -> Iterator[Outcome]:
    """Yield how each scenario ended."""
    if find_spec("pytest") is None:
        detail = "pytest runs them, and is not installed here; pip install 'motorpool-sdk[testing]'"
        yield Outcome(check="scenarios", passed=False, detail=detail)
        return
    # No settings of a folder above, and nothing left behind.
    alone = ("-c", os.devnull, "--rootdir", os.sep, "--noconftest", "-p", "no:cacheprovider", "-W", "ignore", "-q")
    asked = _Asked(
        *("pytest", *alone, "-p", "motorpool_sdk.kit.telling", "--pyargs", "motorpool_sdk.kit.scenario_tests"),
        env={**os.environ, SCENARIOS: str(scenarios.absolute()), PACKAGE: found.package},
    )
    yield from _outcomes(asked, "scenarios", SCENARIO_SECONDS)


def _outcomes(asked: _Asked, first: str, deadline_seconds: float) -> Iterator[Outcome]:
    """Yield the checks' outcomes; a process that ends before its last check leaves one for the check it was at."""
    with asked:
        at, ended = first, ""
        try:
            for outcome in asked.outcomes(deadline_seconds):
                at = outcome.check
                if outcome.passed is not None:
                    yield outcome
        except TimeoutError:
            ended = f"did not end within {deadline_seconds:g} s; an agent kills it, and starts it again"
        if at != "done":
            detail = ended or _obituary(asked.end())
            yield Outcome(check=at, passed=False, detail=f"{detail}; {said}" if (said := asked.said()) else detail)


class _Asked:
    """A process that runs a module on the plugin, its outcomes, and the last of what the plugin prints.

    Its environment says where outcomes are told.
    """

    def __init__(self, module: str, *arguments: str, env: Mapping[str, str]) -> None:
        self._outcomes, theirs = os.pipe()
        self._printed, their_output = os.pipe()
        self._tail = b""
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, *arguments],
                pass_fds=[theirs],
                stdin=subprocess.DEVNULL,
                stdout=their_output,
                stderr=their_output,
                env={**env, TELLS: str(theirs)},
                start_new_session=True,  # helpers that it starts end with it
            )
        finally:
            os.close(theirs)
            os.close(their_output)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(wait_seconds=0.0)
        os.close(self._outcomes)
        os.close(self._printed)

    def outcomes(self, deadline_seconds: float) -> Iterator[Outcome]:
        """Yield what the process says until it is done or ends; raises TimeoutError when one takes too long."""
        rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._outcomes, selectors.EVENT_READ)
            selector.register(self._printed, selectors.EVENT_READ)
            until = time.monotonic() + deadline_seconds
            while True:
                ready = [key.fd for key, _ in selector.select(max(0.0, until - time.monotonic()))]
                if time.monotonic() >= until:
                    raise TimeoutError
                if self._printed in ready and not self._hear():
                    selector.unregister(self._printed)
                if self._outcomes not in ready:
                    continue
                content = os.read(self._outcomes, _READ_BYTES)
                if not content:
                    return
                *lines, rest = (rest + content).split(b"\n")
                for line in lines:
                    outcome = msgspec.json.decode(line, type=Outcome)
                    yield outcome
                    if outcome.check == "done":
                        return
                until = time.monotonic() + deadline_seconds

    def said(self) -> str:
        """Return where the process crashed, or the last line that the plugin printed."""
        said, _, trace = self._tail.decode(errors="replace").partition("Fatal Python error: ")
        if at := _CRASHED_AT.search(trace):
            return f"it was at {at[1]}, line {at[2]}"
        last = next((line.strip() for line in reversed(said.split("\n")) if line.strip()), "")
        return f"it last said: {last[:200]}" if last else ""

    def end(self, wait_seconds: float = 2.0) -> int:
        """Return how the process ended, killing it and its helpers when it does not."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(wait_seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()

    def _hear(self) -> bytes:
        content = os.read(self._printed, _READ_BYTES)
        self._tail = (self._tail + content)[-_TAIL_BYTES:]
        return content


def _environment(manifest: Manifest) -> Mapping[str, str]:
    env = {name: os.environ[name] for name in (*PASSED_ON, *manifest.reads_env) if name in os.environ}
    if manifest.library_paths:
        folders = [*manifest.library_paths, env.get("LD_LIBRARY_PATH", "")]
        env["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, folders))
    return env


def _obituary(code: int) -> str:
    if code >= 0:
        return f"its process exited with status {code}"
    try:
        return f"its process was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"its process was ended by signal {-code}"
