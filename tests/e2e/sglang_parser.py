"""SGLang's own parser for tests, installed by hand: ``python -m tests.e2e.sglang_parser``.

SGLang itself runs on CUDA alone; what reads its arguments runs anywhere, with a part of what the whole wants. It takes
some minutes and 2.7 GB below ``.cache``; without it the tests that want it are skipped.
"""

from __future__ import annotations

import shutil
import subprocess
import time
import venv
from pathlib import Path

import pytest

RELEASE = "0.5.23"
FOLDER = Path(__file__).resolve().parents[2] / ".cache" / f"sglang-{RELEASE}"
PYTHON = FOLDER / "bin" / "python"

# What importing the parser imports, found by trying.
_WANTED = (
    *("torch==2.13.0", "triton", "transformers", "numpy", "scipy", "soundfile", "pillow", "msgspec", "orjson"),
    *("pydantic", "fastapi", "uvicorn", "python-multipart", "aiohttp", "requests", "pyzmq", "psutil", "pybase64"),
    *("ipython", "dill", "pyyaml"),
)
_INSTALLED = FOLDER / "installed"

needs_sglang = pytest.mark.skipif(
    not _INSTALLED.exists(),
    reason="SGLang's parser is not installed (minutes, 2.7 GB): .venv/bin/python -m tests.e2e.sglang_parser",
)
"""Skips a test where the parser is not installed, in CI too."""


def install() -> None:
    """Install the parser, anew if an earlier installation did not end."""
    if _INSTALLED.exists():
        return
    shutil.rmtree(FOLDER, ignore_errors=True)
    venv.create(FOLDER, with_pip=True)
    _pip("install", *_WANTED)
    _pip("install", "--no-deps", f"sglang=={RELEASE}")
    _INSTALLED.touch()


def _pip(*arguments: str) -> None:
    subprocess.run([str(PYTHON), "-m", "pip", "--quiet", "--no-cache-dir", *arguments], check=True)


if __name__ == "__main__":
    began = time.monotonic()
    install()
    print(f"{PYTHON} is there, after {time.monotonic() - began:.0f} s")
