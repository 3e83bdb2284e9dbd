"""Plugins made on the spot: a package, its manifest and the metadata that pip would leave, in a folder on sys.path."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

MakePlugin = Callable[..., str]

BACKEND = """
from motorpool_sdk import Launch, MemoryModel, Profile, Version, hookimpl

class Backend:
    def profile(self):
        return Profile(
            backend={name!r},
            versions=(Version(version="1.0", executable="/bin/true"),),
            memory_model=MemoryModel.FIXED,
            rules="fixed",
            formats=("gguf",),
            categories=("llm",),
        )

    def check(self, request):
        return ()

    def launch(self, request):
        return Launch(argv=("/bin/true", str(request.port)))

@hookimpl
def motorpool_register_backends(register):
    register(Backend())
"""

ACCELERATOR = """
from motorpool_sdk import Device, DeviceError, Exposure, Health, MemoryKind, Sample, hookimpl

class Accelerator:
    def fingerprint(self):
        return [
            Device(
                device_id=f"GPU-{{number}}",
                vendor={name!r},
                framework="cuda",
                index=number,
                memory_kind=MemoryKind.DEDICATED,
                memory_bytes=24 * 2**30,
            )
            for number in range(2)
        ]

    def sample(self, device_ids):
        return [Sample(device_id=device_id, used_bytes=2**30) for device_id in device_ids]

    def health(self, device_ids):
        return {{device_id: (Health.HEALTHY, ()) for device_id in device_ids}}

    def expose(self, device_ids):
        return Exposure(env={{"VISIBLE": ",".join(device_ids)}})

@hookimpl
def motorpool_register_accelerators(register):
    register(Accelerator())
"""


def write_plugin(
    folder: Path,
    name: str,
    *,
    kind: str = "backend",
    code: str = "",
    first: str = "",
    manifest: str | None = None,
    extra: str = "",
    distribution: str = "",
    provides: str = "",
) -> str:
    """
    Write package ``made_<name>`` and its metadata; return the package's name.

    ``code`` overrides methods: it is put behind a good plugin's; ``first`` runs at import; ``extra`` goes into the
    manifest.
    """
    package = f"made_{name}"
    distribution = distribution or f"made-{name}"
    body = (BACKEND if kind == "backend" else ACCELERATOR).format(name=provides or name)
    (folder / package).mkdir(parents=True)
    (folder / package / "__init__.py").write_text(f"{dedent(first)}\n{body}\n{dedent(code)}\n")
    if manifest is None:
        manifest = f'kind = "{kind}"\napi = ">=0.1,<0.2"\nprovides = "{provides or name}"\nsets_env = ["VISIBLE"]\n'
    (folder / package / "plugin.toml").write_text(manifest + extra)
    info = folder / f"{distribution.replace('-', '_')}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[motorpool.plugins]\n{name} = {package}\n")
    return package
