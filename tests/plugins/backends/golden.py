"""Whole launches on file, one for each of a plugin's ``requests``: what is launched is there to be read, and compared.

A test module subclasses ``GoldenLaunches``. ``python -m tests.plugins.backends.golden llama_cpp`` writes those of one
plugin anew.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import ClassVar

from motorpool_sdk import BackendPlugin, Launch, LaunchRequest, Severity

HERE = Path(__file__).parent


class GoldenLaunches:
    """A plugin's launches are those in its folder ``launches``.

    Of a file that goes along as it stands in the plugin, one of its ``sources``, the name is on file.
    """

    plugin: ClassVar[BackendPlugin]
    golden: ClassVar[Mapping[str, LaunchRequest]]
    folder: ClassVar[Path]
    sources: ClassVar[tuple[Path, ...]] = ()

    def test_launches_are_those_on_file(self) -> None:
        """
        Arguments, environment, secrets, image, entrypoint, files, readiness and times are exactly those of the file.
        """
        made = {
            name: json.loads(written(self.plugin.launch(request), self.sources))
            for name, request in self.golden.items()
        }

        assert {path.stem: json.loads(path.read_text()) for path in self.folder.iterdir()} == made

    def test_what_is_on_file_may_be_launched(self) -> None:
        """
        Of no request the plugin finds an error.
        """
        found = {
            name: [each for each in self.plugin.check(request) if each.severity is Severity.ERROR]
            for name, request in self.golden.items()
        }

        assert {name: [] for name in self.golden} == found


def written(launch: Launch, sources: Sequence[Path] = ()) -> str:
    """Return a launch as its file has it."""
    names = {source.read_text(encoding="utf-8"): f"<{source.name} of the plugin>" for source in sources}
    files = tuple(replace(file, text=names.get(file.text, file.text)) for file in launch.files)
    return json.dumps(asdict(replace(launch, files=files)), indent=1, default=str) + "\n"


def _write(backend: str) -> None:
    module = import_module(f"tests.plugins.backends.{backend}.test_launches")
    tested: type[GoldenLaunches] = module.TestLaunches
    tested.folder.mkdir(exist_ok=True)
    for path in tested.folder.iterdir():
        path.unlink()
    for name, request in tested.golden.items():
        (tested.folder / f"{name}.json").write_text(
            written(tested.plugin.launch(request), tested.sources), encoding="utf-8"
        )


if __name__ == "__main__":
    _write(sys.argv[1])
