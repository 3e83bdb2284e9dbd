"""An installation of vLLM as an agent sees one: packages of these versions, and commands that are never run."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def installation(folder: Path, **versions: str) -> Path:
    """Make an environment whose Python knows packages of these versions, with vLLM's and Ray's commands in it."""
    packages = folder / "packages"
    for name, version in versions.items():
        metadata = packages / f"{name}-{version}.dist-info" / "METADATA"
        metadata.parent.mkdir(parents=True)
        metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (folder / "bin").mkdir()
    for name in ("python", "vllm", "ray"):
        program = folder / "bin" / name
        program.write_text(f'#!/bin/sh\nPYTHONPATH={json.dumps(str(packages))} exec {sys.executable} -S "$@"\n')
        program.chmod(0o755)
    return folder
