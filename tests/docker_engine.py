"""A Docker Engine for tests, and images for it that come from no registry: this Python, its libraries, one program."""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import docker
import docker.errors
import docker.utils

from motorpool_agent.runtime.docker.daemon import knock
from motorpool_agent.runtime.docker.labels import ASSIGNMENT, DATA_DIR

_PYTHON = Path(sys.executable).resolve()
_STDLIB = Path(sysconfig.get_path("stdlib"))
_LEFT_OUT = {"test", "idlelib", "tkinter", "ensurepip", "lib2to3", "turtledemo", "site-packages", "dist-packages"}
_LIBRARY = re.compile(r"(?:=> )?(/\S+) \(0x")


class DockerEngine:
    """The engine at an address; without one, that which DOCKER_HOST names, or the machine's own."""

    def __init__(self, address: str = "") -> None:
        if not address:
            knock()
        where = {"base_url": address} if address else docker.utils.kwargs_from_env()
        self.client = docker.APIClient(version="auto", timeout=60, **where)

    def python_image(self, program: Path, packages: Sequence[Path] = (), env: Mapping[str, str] | None = None) -> str:
        """Return an image whose entrypoint runs ``program``, made unless it is there already."""
        parts = [program.read_bytes(), sys.version.encode(), *(str(package).encode() for package in packages)]
        tag = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
        image = f"motorpool-test:{tag}"
        try:
            self.client.inspect_image(image)
        except docker.errors.ImageNotFound:
            settings = {"PYTHONPATH": "/app", "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}
            with tempfile.TemporaryFile() as file:
                _write_root(file, program, packages)
                file.seek(0)
                self.client.import_image_from_stream(
                    iter(lambda: file.read(1 << 20), b""),  # a file would be sent whole, below a head that says chunks
                    repository="motorpool-test",
                    tag=tag,
                    changes=[
                        f'ENTRYPOINT ["{_PYTHON}", "/app/{program.name}"]',
                        *(f"ENV {name}={value}" for name, value in settings.items()),
                    ],
                )
            self._tagged(image, tag)
        return image

    def _tagged(self, image: str, tag: str) -> None:
        """Podman 4.3 imports whatever was asked for as ``latest``."""
        try:
            self.client.inspect_image(image)
        except docker.errors.ImageNotFound:
            self.client.tag("motorpool-test:latest", "motorpool-test", tag)

    def containers(self, data_dir: Path, assignment_id: str | None = None) -> list[dict[str, Any]]:
        """Return what a data directory's agent made, as the engine shows it."""
        labels = [f"{DATA_DIR}={data_dir}", *([] if assignment_id is None else [f"{ASSIGNMENT}={assignment_id}"])]
        listed = self.client.containers(all=True, filters={"label": labels})
        found = []
        for one in listed:
            # It may go between the two answers.
            with contextlib.suppress(docker.errors.NotFound):
                found.append(self.client.inspect_container(one["Id"]))
        return found

    def remove_all(self, data_dir: Path) -> None:
        """Remove what a data directory's agent made."""
        for one in self.client.containers(all=True, filters={"label": f"{DATA_DIR}={data_dir}"}):
            self.client.remove_container(one["Id"], force=True, v=True)


def _write_root(file: Any, program: Path, packages: Sequence[Path]) -> None:
    with tarfile.open(fileobj=file, mode="w", dereference=True) as archive:
        archive.add(_PYTHON, str(_PYTHON))
        objects = [_PYTHON]
        for path in _modules(_STDLIB):
            archive.add(path, str(path), recursive=False)
            if path.suffix == ".so":
                objects.append(path)
        archive.add(program, f"app/{program.name}")
        for package in packages:
            for path in sorted(package.rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    archive.add(path, f"app/{path.relative_to(package.parent)}")
                    if ".so" in path.suffixes:
                        objects.append(path)
        for library in sorted(_libraries(objects)):
            archive.add(library, library)
        for name, mode in (("tmp", 0o1777), ("etc", 0o755)):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, mode
            archive.addfile(folder)
        users = b"root:x:0:0::/:/bin/false\n"
        entry = tarfile.TarInfo("etc/passwd")
        entry.size = len(users)
        archive.addfile(entry, io.BytesIO(users))


def _modules(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name in _LEFT_OUT or path.name == "__pycache__" or path.name.startswith("config-"):
            continue
        if path.is_dir():
            yield from _modules(path)
        else:
            yield path


def _libraries(objects: Iterable[Path]) -> set[str]:
    """Return the shared libraries of programs and libraries, the loader among them, as the loader finds them."""
    done = subprocess.run(["ldd", *map(str, objects)], capture_output=True, text=True, check=False)
    own = {str(one) for one in objects}
    return {match[1] for match in _LIBRARY.finditer(done.stdout) if match[1] not in own and Path(match[1]).exists()}
