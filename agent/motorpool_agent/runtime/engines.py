"""Engines' environments below the data directory, apart from the agent's own: made once, then never touched again."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib.util
import os
import re
import shutil
import signal
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from motorpool_agent.runtime.errors import EngineInstallError
from motorpool_agent.state.files import sync_directory, write_durably
from motorpool_sdk.backend import Environment, Version

MANIFEST_NAME = "manifest.json"
FILES_FOLDER = "files"

_LEASH = Path(__file__).with_name("leash.py")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
_LIMIT_SECONDS = 3600.0
_LOOK_SECONDS = 0.2
_SHOWN_LINES = 12
_SCRIPT_BYTES = 1 << 20
# Paths of the agent's own interpreter must not leak into the engine's.
_LEFT_OUT = frozenset({"PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"})


class Manifest(msgspec.Struct, frozen=True):
    """What an environment was made from; written last, so that one that has it is whole."""

    backend: str
    version: str
    requirements: tuple[str, ...]
    python: str


class Engines:
    """The environments below ``<data-dir>/engines``; pip keeps what it downloads in ``<cache-dir>/pip``.

    With a folder of ``wheels`` they are made of these alone, without a network.
    """

    def __init__(self, data_dir: Path, cache_dir: Path, *, wheels: Path | None = None) -> None:
        self._root = data_dir.absolute() / "engines"
        self._pip_cache = cache_dir.absolute() / "pip"
        self._only = () if wheels is None else ("--no-index", "--find-links", str(wheels))

    @property
    def folder(self) -> Path:
        """Where all environments stand."""
        return self._root

    def directory(self, backend: str, version: str) -> Path:
        """Return where a version's environment stands, or would stand."""
        for name in (backend, version):
            if not _NAME.fullmatch(name):
                raise EngineInstallError(
                    f"{name[:80]!r} cannot name an engine's directory; letters, digits, '.', '_', '+' and '-' can"
                )
        return self._root / backend / version

    def installed(self, backend: str, version: str) -> bool:
        """Whether a version's environment stands, whole; not so if the Python it was made with was removed."""
        try:
            directory = self.directory(backend, version)
        except EngineInstallError:
            return False
        return (directory / MANIFEST_NAME).is_file() and (directory / "bin" / "python").exists()

    async def ensure(self, backend: str, version: Version, progress: Callable[[str], None]) -> Path:
        """Return a version's environment, made if it does not stand; one that stands is taken as it is, offline."""
        directory = self.directory(backend, version.version)
        if self.installed(backend, version.version):
            return directory
        if version.environment is None:
            raise EngineInstallError(
                f"{backend} {version.version} has no environment of its own; install its program on this machine"
            )
        try:
            directory.parent.mkdir(parents=True, exist_ok=True)
            async with self._lock(directory, progress) as lock:
                if not self.installed(backend, version.version):
                    await self._make(backend, version.version, version.environment, directory, lock, progress)
        except OSError as error:
            raise EngineInstallError(f"{directory} cannot be made: {error}; free space or permissions") from error
        return directory

    @contextlib.asynccontextmanager
    async def _lock(self, directory: Path, progress: Callable[[str], None]) -> AsyncIterator[int]:
        """Hold the kernel's lock on a version; a dead installer's is free as soon as what it ran has ended too."""
        path = directory.with_name(f".{directory.name}.lock")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            told = False
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not told:
                        progress("waiting for another installation of the same engine")
                        told = True
                    await asyncio.sleep(_LOOK_SECONDS)
            yield descriptor
        finally:
            os.close(descriptor)

    async def _make(
        self,
        backend: str,
        version: str,
        environment: Environment,
        directory: Path,
        lock: int,
        progress: Callable[[str], None],
    ) -> None:
        partial = directory.with_name(f".{directory.name}.partial")
        # We hold the lock: what lies there is of an installer that died.
        await asyncio.to_thread(_clear, partial)
        await asyncio.to_thread(_clear, directory)
        try:
            progress("making the environment")
            await _environment(partial, lock, progress)
            if environment.requirements:
                progress(f"installing {', '.join(environment.requirements)}")
                await _install(partial, environment.requirements, self._only, self._pip_cache, lock, progress)
            manifest = Manifest(backend, version, environment.requirements, sys.version.partition(" ")[0])
            await asyncio.to_thread(_finish, partial, directory, environment, manifest)
        except BaseException:
            await asyncio.to_thread(_clear, partial)
            raise
        progress("the engine is installed")


async def _environment(partial: Path, lock: int, progress: Callable[[str], None]) -> None:
    # Copies of the interpreter would miss its libraries; links survive the move.
    command = [sys.executable, "-I", "-m", "venv", "--symlinks"]
    if importlib.util.find_spec("pip") is not None:
        # The agent's own pip installs into it: four times as fast as giving it one.
        command.append("--without-pip")
    await _run([*command, str(partial)], "making the environment", lock, progress)


async def _install(
    partial: Path,
    requirements: tuple[str, ...],
    only: tuple[str, ...],
    cache: Path,
    lock: int,
    progress: Callable[[str], None],
) -> None:
    python = str(partial / "bin" / "python")
    if importlib.util.find_spec("pip") is not None:
        command = [sys.executable, "-m", "pip", "--python", python]
    else:
        command = [python, "-m", "pip"]
    command += ["--no-input", "--disable-pip-version-check", "install"]
    command += ["--progress-bar", "off", "--no-warn-script-location", *only]
    # Requirements after the options' end: none of them may be read as an option.
    await _run([*command, "--", *requirements], "pip", lock, progress, PIP_CACHE_DIR=str(cache))


async def _run(command: list[str], what: str, lock: int, progress: Callable[[str], None], **variables: str) -> None:
    """Run an installer, report its lines, and raise with the last of them if it fails. Ends what it started."""
    environment = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT}
    # On a leash: what an agent that was killed left behind would write into what its successor makes.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(_LEASH), *command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**variables, **environment},
        start_new_session=True,
        pass_fds=(lock,),
    )
    last: deque[str] = deque(maxlen=_SHOWN_LINES)
    try:
        async with asyncio.timeout(_LIMIT_SECONDS):
            assert process.stdout is not None  # noqa: S101  # it is PIPE
            async for raw in process.stdout:
                line = raw.decode(errors="replace").strip()[:300]
                if line:
                    last.append(line)
                    if line.startswith(("Collecting", "Downloading", "Building", "Installing", "Using cached")):
                        progress(line)
            code = await process.wait()
    except TimeoutError as error:
        raise EngineInstallError(
            f"{what} did not finish in {_LIMIT_SECONDS:.0f} s; see whether the index answers"
        ) from error
    except ValueError as error:
        raise EngineInstallError(f"{what} printed a line without end: {error}") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        if process.stdin is not None:
            process.stdin.close()
    if code:
        raise EngineInstallError(
            f"{what} failed with status {code}: {' | '.join(last) or 'no output'}; see to the network, the proxy or "
            "pip's index (pip.conf, PIP_INDEX_URL; offline: PIP_NO_INDEX=1 and PIP_FIND_LINKS=<folder of wheels>), "
            "then `motorpool-agent engine install`, or wait for the next try"
        )


def _finish(partial: Path, directory: Path, environment: Environment, manifest: Manifest) -> None:
    """Put in the files, make scripts name the final place, write the manifest, and move it there."""
    files = partial / FILES_FOLDER
    files.mkdir(exist_ok=True)
    for name, text in environment.files.items():
        if Path(name).name != name:
            raise EngineInstallError(f"the plugin's file {name!r} is a path; it must be a plain name")
        (files / name).write_text(text, encoding="utf-8")
    old, new = os.fsencode(partial), os.fsencode(directory)
    for path in [partial / "pyvenv.cfg", *(partial / "bin").iterdir()]:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _SCRIPT_BYTES:
            continue
        content = path.read_bytes()
        if old in content and b"\0" not in content:
            path.write_bytes(content.replace(old, new))
    write_durably(partial / MANIFEST_NAME, msgspec.json.encode(manifest), mode=0o644)
    # The manifest must not be durable before what it vouches for.
    os.sync()
    partial.rename(directory)
    sync_directory(directory.parent)


def _clear(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)
