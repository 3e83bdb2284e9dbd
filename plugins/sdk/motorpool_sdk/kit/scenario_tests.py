"""The scenarios on what an author made up, ``MADE`` of the file that is asked for; run by ``verification``."""

from __future__ import annotations

import os
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from motorpool_sdk.kit.verification import PACKAGE, SCENARIOS
from motorpool_sdk.testing.scenarios import CommandScenarios, Scenarios
from motorpool_sdk.testing.vendor import MadeVendor


def _made(file: Path, package: str) -> MadeVendor:
    spec = spec_from_file_location("made_by_the_author", file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{file} is no Python file")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    made = getattr(module, "MADE", None)
    if not isinstance(made, MadeVendor):
        raise TypeError(
            f"{file} has no MADE that is a motorpool_sdk.testing.vendor.MadeVendor, but {type(made).__name__}"
        )
    if made.package != package:
        raise ValueError(f"MADE of {file} is for the package {made.package}, and {package} is asked for")
    return made


MADE = _made(Path(os.environ[SCENARIOS]), os.environ[PACKAGE])
TestScenarios = type("TestScenarios", (Scenarios if MADE.recorded is None else CommandScenarios,), {"vendor": MADE})
