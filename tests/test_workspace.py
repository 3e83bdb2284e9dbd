import ast
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from motorpool_sdk import API_VERSION

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 400
LOCKS = ("requirements.lock", "proto/generator.lock")
ADDRESS = re.compile(
    r"[a-z]+://|@ file|^ *(-i|-f|--(index-url|extra-index-url|find-links|trusted-host))\b", re.MULTILINE
)


def toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


WORKSPACE = toml(ROOT / "pyproject.toml")
MEMBERS = {
    toml(file)["project"]["name"]: file.parent
    for pattern in WORKSPACE["tool"]["uv"]["workspace"]["members"]
    for file in ROOT.glob(f"{pattern}/pyproject.toml")
}
PROJECTS = {name: toml(folder / "pyproject.toml")["project"] for name, folder in MEMBERS.items()}
PACKAGES = {name.replace("-", "_") for name in MEMBERS}
SOURCES = {
    name: folder / "python" / name if name == "motorpool" else folder / name.replace("-", "_")
    for name, folder in MEMBERS.items()
}
every_member = pytest.mark.parametrize("name", sorted(MEMBERS))


def name_of(requirement: str) -> str:
    return re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0]


def requirements_of(name: str) -> list[str]:
    extras = PROJECTS[name].get("optional-dependencies", {}).values()
    return [*PROJECTS[name]["dependencies"], *(line for extra in extras for line in extra)]


def range_of(requirement: str) -> str:
    return re.sub(r"^\[[^]]*\]", "", requirement.removeprefix(name_of(requirement)))


@cache
def tracked_or_new() -> tuple[Path, ...]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return tuple(path for name in listed.split("\0") if name and (path := ROOT / name).is_file())


def test_every_pyproject_belongs_to_a_member() -> None:
    """
    No pyproject.toml lies outside the workspace's patterns, but the root's own and the examples'.
    """
    projects = {
        path.parent
        for path in tracked_or_new()
        if path.name == "pyproject.toml" and path.relative_to(ROOT).parts[0] not in {"examples", "pyproject.toml"}
    }

    assert set(MEMBERS.values()) == projects


def test_root_depends_on_every_member() -> None:
    """
    A plain `uv sync` installs all members, from the workspace.
    """
    assert sorted(MEMBERS) == sorted(WORKSPACE["project"]["dependencies"])
    assert {name: {"workspace": True} for name in MEMBERS} == WORKSPACE["tool"]["uv"]["sources"]


def test_tools_know_every_member() -> None:
    """
    ruff, mypy and import-linter have each member in their lists.
    """
    bases = {f"$MYPY_CONFIG_FILE_DIR/{folder.parent.relative_to(ROOT)}" for folder in SOURCES.values()}

    assert sorted(PACKAGES) == WORKSPACE["tool"]["ruff"]["lint"]["isort"]["known-first-party"]
    assert sorted(PACKAGES) == sorted(WORKSPACE["tool"]["importlinter"]["root_packages"])
    assert sorted(bases) == WORKSPACE["tool"]["mypy"]["mypy_path"]


def test_import_contracts_name_every_plugin() -> None:
    """
    Each plugin is under the contract that lets it see the SDK and nothing else.
    """
    plugins = {
        name.replace("-", "_")
        for name, folder in MEMBERS.items()
        if folder.is_relative_to(ROOT / "plugins") and name != "motorpool-sdk"
    }
    contracts = {contract["id"]: contract for contract in WORKSPACE["tool"]["importlinter"]["contracts"]}
    top = set(contracts["members"]["layers"][0].split(" | "))

    assert plugins == set(contracts["plugins"]["source_modules"])
    assert plugins | {"motorpool_agent", "motorpool_cli", "motorpool_controller"} == top


def test_versions_move_together() -> None:
    """
    All members have the workspace's version, but the SDK: its own is that of the contract, which others' plugins pin.
    """
    others = {project["version"] for name, project in PROJECTS.items() if name != "motorpool-sdk"}

    assert {WORKSPACE["project"]["version"]} == others
    assert PROJECTS["motorpool-sdk"]["version"].startswith(f"{API_VERSION}.")


@every_member
def test_first_party_requirements(name: str) -> None:
    """
    Members pin each other exactly; the SDK and plugins are taken by range, as strangers must.
    """
    ours = [(name_of(line), range_of(line)) for line in requirements_of(name) if name_of(line) in MEMBERS]

    assert [(other, _required(other)) for other, _ in ours] == ours
    assert {other: {"workspace": True} for other, _ in ours} == (
        toml(MEMBERS[name] / "pyproject.toml").get("tool", {}).get("uv", {}).get("sources", {})
    )


def _required(name: str) -> str:
    """
    Return how a member is required by others.
    """
    version = PROJECTS[name]["version"]
    if not MEMBERS[name].is_relative_to(ROOT / "plugins"):
        return f"=={version}"
    major, minor = (int(part) for part in version.split(".")[:2])
    least = version if name == "motorpool-sdk" else f"{major}.{minor}"
    return f">={least},<{major}.{minor + 1}"


@every_member
def test_member_metadata(name: str) -> None:
    """
    Every member says what it is, under which licence and for which Python, and is typed.
    """
    project = PROJECTS[name]

    assert "Apache-2.0" == project["license"]
    assert WORKSPACE["project"]["requires-python"] == project["requires-python"]
    assert project["description"]
    assert (SOURCES[name] / "py.typed").exists()


@every_member
def test_members_import_what_they_declare(name: str) -> None:
    """
    What a package imports from another member stands in its pyproject.toml.
    """
    imported = set()
    for file in SOURCES[name].rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    declared = {name_of(line).replace("-", "_") for line in PROJECTS[name]["dependencies"]}

    assert set() == (imported & PACKAGES) - declared - {name.replace("-", "_")}


def test_no_folder_becomes_a_package() -> None:
    """
    Only a member's own package and what is in it have an __init__.py.
    """
    strays = [
        str(path.relative_to(ROOT))
        for path in tracked_or_new()
        if path.name == "__init__.py"
        and not any(path.is_relative_to(source) for source in SOURCES.values())
        and path.relative_to(ROOT).parts[0] != "examples"
    ]

    assert [] == strays


@every_member
def test_no_folder_of_a_package_lacks_its_init(name: str) -> None:
    """
    Each folder with code in a package has an __init__.py: one without is outside every import contract.
    """
    folders = {file.parent for file in SOURCES[name].rglob("*.py")}

    assert [] == sorted(str(folder) for folder in folders if not (folder / "__init__.py").exists())


def test_every_folder_has_a_readme() -> None:
    """
    Each top-level folder, the two plugin folders and each member say what is in them.
    """
    tops = {ROOT / path.relative_to(ROOT).parts[0] for path in tracked_or_new() if path.parent != ROOT}
    folders = {folder for folder in tops if not folder.name.startswith(".")} | set(MEMBERS.values())

    assert [] == sorted(str(folder.relative_to(ROOT)) for folder in folders if not (folder / "README.md").exists())


def test_modules_are_short() -> None:
    """
    No module is over 400 lines, but generated ones and tests.
    """
    generated = SOURCES["motorpool"] / "v1"
    long = {
        str(path.relative_to(ROOT)): lines
        for path in tracked_or_new()
        if path.suffix == ".py"
        and not path.is_relative_to(generated)
        and not path.is_relative_to(ROOT / "tests")
        and (lines := path.read_text().count("\n")) > MAX_LINES
    }

    assert {} == long


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_files_carry_no_address(lock: str) -> None:
    """
    A lock file pins versions and hashes, and leaves where they come from to whoever installs them.
    """
    text = (ROOT / lock).read_text()

    assert None is ADDRESS.search(text)
    assert len(re.findall(r"^\S+==", text, re.MULTILINE)) == len(
        re.findall(r"^\S+==\S+.*\\\n    --hash=", text, re.MULTILINE)
    )


def test_lock_pins_everything_that_is_asked_for() -> None:
    """
    Each third-party requirement of a member, its extras or the tools is in requirements.lock, and no member is.
    """
    pinned = {line.split("==")[0] for line in (ROOT / LOCKS[0]).read_text().splitlines() if re.match(r"\S+==", line)}
    asked = {name_of(line).lower() for name in PROJECTS for line in requirements_of(name)}
    asked |= {name_of(line).lower() for line in WORKSPACE["dependency-groups"]["dev"]}

    assert set() == asked - set(MEMBERS) - pinned
    assert set() == set(MEMBERS) & pinned


def test_uv_lock_is_not_tracked() -> None:
    """
    uv.lock carries download addresses: it stays on the machine that made it.
    """
    assert ROOT / "uv.lock" not in tracked_or_new()
