"""``motorpool-agent bundle``: what a node without a network needs, made on one that has one, installed on the other."""

from __future__ import annotations

import asyncio
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from motorpool_agent.config import Config
from motorpool_agent.files import bundle
from motorpool_agent.files.store import FileStore, Record
from motorpool_agent.main.engines import version_of
from motorpool_agent.runtime.engines import Engines
from motorpool_agent.state.errors import ModelFilesError
from motorpool_sdk.discovery import discover

AGENT = "agent"
_SCRIPT = """\
#!/bin/sh
# Makes an environment for the Motorpool agent out of this bundle, without a network:
#   tar -xf BUNDLE && sh install.sh /opt/motorpool && /opt/motorpool/bin/motorpool-agent bundle install BUNDLE
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
"${PYTHON:-python3}" -m venv "$1"
"$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --find-links "$here/wheels/agent" @WANTED@
"""

Say = Callable[[str], None]


async def create(
    config: Config,
    file: Path,
    *,
    models: Sequence[str],
    engines: Sequence[str],
    find_links: Sequence[Path],
    with_agent: bool,
    say: Say,
) -> None:
    """Write a bundle of models that this node has, engines, and the agent with its plugins."""
    store = FileStore(config.models)
    records = _chosen(store, models)
    wanted = [f"motorpool-agent=={version('motorpool-agent')}", *sorted({_requirement(each) for each in _plugins()})]
    found = [(name, *await version_of(config, *_split(name))) for name in engines]
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="motorpool-bundle-"))
    try:
        if with_agent:
            say(f"fetching packages of {', '.join(wanted)}")
            await _wheels(folder / AGENT, wanted, find_links)
        made: list[bundle.Engine] = []
        for name, backend, engine in found:
            if engine.environment is None:
                raise ModelFilesError(
                    f"{name} has no packages of its own: it runs {engine.executable or engine.image}; bring that along",
                    reason="ENGINE_UNKNOWN",
                )
            place = f"{backend}-{engine.version}"
            say(f"fetching packages of {backend} {engine.version}")
            await _wheels(folder / place, engine.environment.requirements, find_links)
            made.append(bundle.Engine(backend, engine.version, place))
        index = bundle.Index(
            format=bundle.FORMAT,
            agent_version=version("motorpool-agent"),
            python=_python(),
            platform=_platform(),
            distributions=tuple(wanted) if with_agent else (),
            engines=tuple(made),
            models=tuple(records),
            items=(),
        )
        script = _SCRIPT.replace("@WANTED@", " ".join(f"'{each}'" for each in wanted))
        sources = {**_wheels_in(folder), **bundle.contents_of(store, records)}
        written = await asyncio.to_thread(bundle.write, file, index, sources, script, say)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    size = sum(item.size_bytes for item in written.items)
    say(f"{file}: {len(records)} models, {len(made)} engines, {len(written.items)} files, {size} bytes")


async def install(config: Config, file: Path, say: Say) -> None:
    """Verify a bundle, then put in its models and engines, without a network; say what is left to do."""
    config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    staged = await asyncio.to_thread(bundle.unpack, file, config.data_dir, say)
    try:
        index = staged.index
        wheels = staged.folder / bundle.WHEELS
        if (index.engines or index.distributions) and (index.python, index.platform) != (_python(), _platform()):
            raise ModelFilesError(
                f"the packages in {file} are for Python {index.python} on {index.platform}, and this is Python "
                f"{_python()} on {_platform()}; make the bundle on a node like this one",
                reason="BUNDLE_UNFIT",
            )
        for engine in index.engines:
            await _install_engine(config, engine, wheels / engine.folder, say)
        if index.models:
            _install_models(config, staged, say)
        kept = config.data_dir / bundle.WHEELS
        if index.distributions:
            _keep_wheels(wheels / AGENT, kept)
    finally:
        shutil.rmtree(staged.folder, ignore_errors=True)
    if index.distributions and index.agent_version != version("motorpool-agent"):
        command = f"pip install --no-index --find-links {kept} {' '.join(index.distributions)}"
        say(f"the agent of version {index.agent_version} is in {kept}; to take it: {command}")
    say(f"{file} is installed")


def _install_models(config: Config, staged: bundle.Staged, say: Say) -> None:
    store = FileStore(config.models)
    store.open()
    try:
        for folder in bundle.install_models(staged, store):
            say(f"a model stands in {folder}; deploy it with `motorpool deploy NAME --model {folder}`")
    finally:
        store.close()


async def _install_engine(config: Config, engine: bundle.Engine, wheels: Path, say: Say) -> None:
    backend, found = await version_of(config, engine.backend, engine.version)
    engines = Engines(config.data_dir, config.cache_dir, wheels=wheels)
    directory = await engines.ensure(backend, found, say)
    say(f"{backend} {found.version} stands in {directory}")


def _keep_wheels(wheels: Path, kept: Path) -> None:
    kept.mkdir(exist_ok=True)
    for wheel in wheels.glob("*.whl"):
        shutil.move(wheel, kept / wheel.name)


def _chosen(store: FileStore, wanted: Sequence[str]) -> list[Record]:
    """Return the records of models that are named by their id or their repository."""
    there = store.complete()
    chosen: dict[str, Record] = {}
    for name in wanted:
        named = {each: record for each, record in there.items() if name in {each, record.source.repository}}
        if not named:
            listed = ", ".join(f"{each} ({record.source.repository})" for each, record in there.items()) or "none"
            raise ModelFilesError(
                f"{store.directory} has no whole model called {name}; there is {listed}; deploy it here first",
                reason="MODEL_NOT_FOUND",
            )
        chosen |= named
    return list(chosen.values())


def _wheels_in(folder: Path) -> dict[str, Path]:
    return {f"{bundle.WHEELS}/{path.parent.name}/{path.name}": path for path in sorted(folder.glob("*/*.whl"))}


def _plugins() -> Mapping[str, str]:
    return {each.distribution: each.version for each in discover()}


def _requirement(distribution: str) -> str:
    return f"{distribution}=={_plugins()[distribution]}"


def _split(engine: str) -> tuple[str, str | None]:
    backend, _, wanted = engine.partition("==")
    return backend, wanted or None


async def _wheels(folder: Path, requirements: Sequence[str], find_links: Sequence[Path]) -> None:
    """Have pip bring wheels of requirements, and of all that those need."""
    links = [word for place in find_links for word in ("--find-links", str(place))]
    command = [sys.executable, "-m", "pip", "--no-input", "--disable-pip-version-check", "wheel", "--quiet"]
    process = await asyncio.create_subprocess_exec(
        *(*command, "--wheel-dir", str(folder), *links, "--", *requirements),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await process.communicate()
    if process.returncode:
        last = " | ".join(told.decode(errors="replace").strip().splitlines()[-8:])
        raise ModelFilesError(
            f"pip brought no packages of {', '.join(requirements)}: {last or 'no output'}; see to the index, or name a "
            "folder that has them (--find-links)",
            reason="WHEELS_MISSING",
        )


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _platform() -> str:
    return f"{platform.system().lower()} {platform.machine()}"
