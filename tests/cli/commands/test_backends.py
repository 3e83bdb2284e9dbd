"""backends: listed, described, declared from files, and forgotten."""

import json
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml
from google.rpc import code_pb2
from typer.testing import CliRunner

from motorpool import v1
from motorpool_cli.main import app
from tests.cli.controller import Controller
from tests.cli.fleet import fill
from tests.cli.motorpool import Motorpool, error_of, rows

ECHO = """\
name: echo
health_path: /health
claim: {memory_bytes: 1GiB}
versions:
- version: 1.0
  command: /opt/echo --port {{port}}
"""


def write(folder: Path, text: str = ECHO, name: str = "echo.yaml") -> str:
    path = folder / name
    path.write_text(dedent(text))
    return str(path)


def sent(controller: Controller) -> list[v1.UpdateBackendRequest]:
    return [request for request in controller.requests if isinstance(request, v1.UpdateBackendRequest)]


def test_backends_are_listed(controller: Controller, motorpool: Motorpool) -> None:
    """
    A backend shows its versions, what it runs on and where, and whether it was declared.
    """
    fill(controller)
    controller.backends.append(v1.Backend(name="backends/echo", declaration=v1.BackendDeclaration(description="x")))

    table = rows(motorpool("backends").stdout)
    found = json.loads(motorpool("backends", "-o", "json").stdout)["backends"]

    assert ["llama_cpp", "llama-box", "plugin", "b9512", "gguf", "cpu", "rack1"] == table[1]
    assert ["echo", "-", "declared", "-", "any", "-", "-"] == table[2]
    assert ["backends/llama_cpp", "backends/echo"] == [each["name"] for each in found]


def test_applying_declares(controller: Controller, motorpool: Motorpool, tmp_path: Path) -> None:
    """
    It is checked first and then sent, once; again, and nothing changes.
    """
    file = write(tmp_path)

    first, second = motorpool("backends", "apply", "-f", file), motorpool("backends", "apply", "--file", file)
    changed = motorpool("backends", "apply", "-f", write(tmp_path, ECHO.replace("1.0", "1.1")))

    assert "backends/echo is declared: 1.0\n" == first.stdout
    assert "backends/echo is as declared before\n" == second.stdout
    assert "backends/echo is changed: 1.1; instances that stand keep what they were launched with\n" == changed.stdout
    assert [True, False] * 3 == [request.validate_only for request in sent(controller)]
    request = sent(controller)[1]
    assert request.allow_missing
    assert request.request_id
    assert ["/opt/echo", "--port", "{{port}}"] == list(request.backend.declaration.versions[0].command)
    assert 1 << 30 == request.backend.declaration.claim.memory_bytes


def test_a_dry_run_changes_nothing(controller: Controller, motorpool: Motorpool, tmp_path: Path) -> None:
    """
    It says what would happen.
    """
    result = motorpool("backends", "apply", "-f", write(tmp_path), "--dry-run")

    assert (0, "backends/echo would be declared: 1.0\n") == (result.exit_code, result.stdout)
    assert {True} == {request.validate_only for request in sent(controller)}
    assert [] == controller.backends


def test_a_change_tells_how_to_launch_what_stands_again(
    controller: Controller, motorpool: Motorpool, tmp_path: Path
) -> None:
    """
    Only where launches change, of what runs on it; describing names it too.
    """
    motorpool("backends", "apply", "-f", write(tmp_path))
    for name, backend in (("chat", "echo"), ("other", "llama_cpp")):
        deployment = f"deployments/{name}"
        controller.put(v1.Deployment(name=deployment, spec=v1.DeploymentSpec(replicas=3)))
        placed = v1.Placement(backend=backend)
        controller.put(v1.Instance(name=f"instances/{name}-1", deployment=deployment, placement=placed))

    told = motorpool("backends", "apply", "-f", write(tmp_path, ECHO.replace("1.0", "1.1")))
    quiet = motorpool("backends", "apply", "-f", write(tmp_path, ECHO.replace("1.0", "1.1").replace("1GiB", "2GiB")))
    described = motorpool("backends", "describe", "echo")

    assert (
        "note: to launch what stands as declared now, stop and start it:\n"
        "  motorpool scale chat --replicas 0 && motorpool scale chat --replicas 3\n"
    ) == told.stderr
    assert "is changed" in quiet.stdout
    assert "" == quiet.stderr
    assert ["Runs now", "chat"] in rows(described.stdout)


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_what_was_applied_as_a_document(motorpool: Motorpool, tmp_path: Path, form: str) -> None:
    """
    All of it, with the API's field names.
    """
    file = write(tmp_path, f"{ECHO}---\n{ECHO.replace('name: echo', 'name: backends/other')}")

    found = yaml.safe_load(motorpool("backends", "apply", "-f", file, "-o", form).stdout)["backends"]

    assert ["backends/echo", "backends/other"] == [each["name"] for each in found]
    assert "1.0" == found[0]["declaration"]["versions"][0]["version"]


def test_what_describe_shows_can_be_applied(controller: Controller, motorpool: Motorpool, tmp_path: Path) -> None:
    """
    The API's own document is a declaration too, and its etag goes along: a change in between is not lost.
    """
    motorpool("backends", "apply", "-f", write(tmp_path))
    controller.backends[0].etag = '"7"'
    shown = motorpool("backends", "describe", "echo", "-o", "yaml").stdout

    result = motorpool("backends", "apply", "-f", write(tmp_path, shown, "shown.yaml"))

    assert (0, "backends/echo is as declared before\n") == (result.exit_code, result.stdout)
    assert '"7"' == sent(controller)[-1].backend.etag


def test_standard_input(controller: Controller) -> None:
    """
    A dash reads it.
    """
    line = ["--config", str(controller.client_file), "backends", "apply", "-f", "-"]
    result = CliRunner().invoke(app, line, input=ECHO)

    assert "backends/echo is declared: 1.0\n" == result.stdout


def test_nobody_runs_it_yet(controller: Controller, motorpool: Motorpool, tmp_path: Path) -> None:
    """
    A fleet without the plugin gets a note, and the declaration stands.
    """
    controller.runners = []

    result = motorpool("backends", "apply", "-f", write(tmp_path))

    assert 0 == result.exit_code
    assert "motorpool-custom" in result.stderr


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", ["FILE:1: there is nothing in it; declare a backend: name, versions"]),
        ("# only words\n", ["FILE:1: there is nothing in it; declare a backend: name, versions"]),
        (
            "description: x\n",
            [
                "FILE:1: name: it is missing; give the backend a name, as in name: echo",
                "FILE:1: versions: it is missing; declare at least one, with a command or an image",
            ],
        ),
        ("name: [a]\nversions: []\n", ["FILE:1: name: a list stands where a single value is wanted; write it in one "]),
        ("backends:\n- name: echo\n", ["FILE:1: backends: a list of backends is no declaration; `motorpool backends "]),
        ("versions: []\n", ["FILE:1: name: it is missing; give the backend a name, as in name: echo"]),
        ("a: [", ["FILE:1: it is not YAML: expected the node content, but found '<stream end>'; correct it there or "]),
        (
            "name: echo\nhelth: /x\nclaim: {memory_bytes: lots}\n",
            [
                "FILE:1: versions: it is missing; declare at least one, with a command or an image",
                "FILE:2: helth: there is no such field; did you mean health_path?",
                "FILE:3: claim.memory_bytes: 'lots' is no size; write e.g. 6GiB, 500MiB or 6000000000",
            ],
        ),
        (
            "name: echo\nversions: []\n---\nname: backends/echo\nversions: []\nx: 1\n",
            ["FILE:4: name: backends/echo is declared at FILE:1 already; keep one of them", "FILE:6: x: there is no"],
        ),
        ("name: echo\ndeclaration: {versons: []}\n", ["FILE:2: declaration.versons: there is no such field; did you"]),
        ("name: echo\ndeclaration: {}\nversions: []\n", ["FILE:3: versions: there is no such field; there is name, "]),
    ],
)
def test_faults_of_a_file_send_nothing(
    controller: Controller, motorpool: Motorpool, tmp_path: Path, text: str, lines: list[str]
) -> None:
    """
    Every fault is told with file, line and field; the exit code is that of a wrong command line.
    """
    file = write(tmp_path, text)

    result = motorpool("backends", "apply", "-f", file)

    assert 2 == result.exit_code
    told = result.stderr.splitlines()
    assert "DECLARATION_INVALID" in told[-1]
    count = "1 fault" if len(lines) == 1 else f"{len(lines)} faults"
    assert f"error: {count}, nothing was sent:" == told[0]
    expected = [line.replace("FILE", file) for line in lines]
    assert all(line.startswith(start) for line, start in zip(told[1:], expected, strict=True)), told
    assert [] == sent(controller)


def test_faults_of_all_files_are_told_at_once(motorpool: Motorpool, tmp_path: Path) -> None:
    """
    And one that cannot be read ends it, with its name.
    """
    first, second = write(tmp_path, "a: 1\n", "a.yaml"), write(tmp_path, "b: 1\n", "b.yaml")

    both = motorpool("backends", "apply", "-f", first, "-f", second)
    missing = motorpool("backends", "apply", "-f", str(tmp_path / "nowhere.yaml"), "-o", "json")

    assert all(name in both.stderr for name in ("a.yaml:1: a:", "b.yaml:1: b:"))
    assert (2, "FILE_UNREADABLE") == (missing.exit_code, error_of(missing)["reason"])
    assert "nowhere.yaml cannot be read: No such file or directory" in error_of(missing)["message"]


def test_what_the_controller_finds_is_told_by_line(
    controller: Controller, motorpool: Motorpool, tmp_path: Path
) -> None:
    """
    Of all documents, before anything is changed; fields that are not in the file where they would be.
    """
    file = write(tmp_path, f"{ECHO}---\n{ECHO.replace('name: echo', 'name: other')}")
    controller.violations = {
        "backends/echo": [
            ("declaration.versions[0].command[2]", "it is wrong"),
            ("declaration.versions[0].image", "it is missing"),
            ("declaration.metrics_path", "so is that"),
        ],
        "backends/other": [("name", "it is taken"), ("", "and 3 more")],
    }

    result = motorpool("backends", "apply", "-f", file)

    assert 7 == result.exit_code
    assert [
        "error: 5 faults, nothing was changed:",
        f"{file}:1: metrics_path: so is that",
        f"{file}:5: versions[0].image: it is missing",
        f"{file}:6: versions[0].command[2]: it is wrong",
        f"{file}:8: name: it is taken",
        f"{file}:8: and 3 more [DECLARATION_INVALID]",
    ] == result.stderr.splitlines()
    assert [] == controller.backends


def test_what_describe_showed_is_told_by_the_apis_fields(
    controller: Controller, motorpool: Motorpool, tmp_path: Path
) -> None:
    """
    In a document that nests its declaration, fields bear their full names.
    """
    file = write(tmp_path, "name: echo\ndeclaration:\n  versions:\n  - version: '1'\n")
    controller.violations = {"backends/echo": [("declaration.versions[0].command", "it is missing")]}

    result = motorpool("backends", "apply", "-f", file)

    assert f"{file}:4: declaration.versions[0].command: it is missing" in result.stderr


def test_a_refusal_without_fields_stays_what_it_is(
    controller: Controller, motorpool: Motorpool, tmp_path: Path
) -> None:
    """
    A role that does not reach is no fault of the file.
    """
    file = write(tmp_path)
    controller.refusal = (code_pb2.PERMISSION_DENIED, "ROLE_INSUFFICIENT", "Only an admin may.")

    result = motorpool("backends", "apply", "-f", file, "-o", "json")

    assert (4, "ROLE_INSUFFICIENT") == (result.exit_code, error_of(result)["reason"])


def test_a_file_must_be_named(motorpool: Motorpool) -> None:
    """
    Nothing is read that was not asked for.
    """
    result = motorpool("backends", "apply")

    assert 2 == result.exit_code
    assert "--file" in result.stderr


def described(motorpool: Motorpool, name: str) -> dict[str, Any]:
    facts, _, versions = motorpool("backends", "describe", name).stdout.partition("\n\n")
    return {**{row[0]: row[1] for row in rows(facts)}, "versions": rows(versions)[1:]}


def test_describing_a_declared_backend(controller: Controller, motorpool: Motorpool) -> None:
    """
    What it claims, where its key goes, and which executor runs each version, with its command as it was declared.
    """
    controller.backends.append(
        v1.Backend(
            name="backends/echo",
            nodes=["nodes/a"],
            profile=v1.BackendProfile(
                backend="echo",
                memory_model=v1.MEMORY_MODEL_FIXED,
                health_path="/health",
                api_key=True,
                options=[v1.BackendOption(option="port", system_owned=True)],
                versions=[
                    v1.BackendVersion(version="1.0", frameworks=["cpu"], executors=["process", "docker"]),
                    v1.BackendVersion(version="2.0", frameworks=["cuda"], executors=["docker"], image="echo:2"),
                ],
            ),
            declaration=v1.BackendDeclaration(
                description="Says it again.",
                api_key_env="ECHO_KEY",
                claim=v1.ClaimOverride(memory_bytes=1 << 30, device_memory_bytes=8 << 30),
                versions=[
                    v1.DeclaredVersion(version="1.0", command=["/opt/echo", "--say", "two words"]),
                    v1.DeclaredVersion(version="2.0", image="echo:2", entrypoint=["/e"], command=["{{port}}"]),
                ],
            ),
        )
    )

    found = described(motorpool, "echo")

    assert ("declared", "Says it again.", "a", "in ECHO_KEY", "port") == (
        found["From"],
        found["Description"],
        found["Nodes"],
        found["API key"],
        found["Set by Motorpool"],
    )
    assert "1 GiB of host memory and 8 GiB of device memory" == found["Claims"]
    assert [
        ["1.0", "process, docker", "cpu", "any", "any", '/opt/echo --say "two words"'],
        ["2.0", "docker", "cuda", "any", "any", "echo:2 /e {{port}}"],
    ] == found["versions"]


def test_describing_a_reported_backend(controller: Controller, motorpool: Motorpool) -> None:
    """
    What plugins report is shown alike.
    """
    fill(controller)

    found = described(motorpool, "backends/llama_cpp")

    assert ("plugin", "gguf", "rack1") == (found["From"], found["Formats"], found["Nodes"])
    assert "b9512" == found["versions"][0][0]
    assert "Claims" not in found


def test_an_unknown_backend(motorpool: Motorpool) -> None:
    """
    It is not found.
    """
    assert [5, 5] == [motorpool("backends", verb, "nobody").exit_code for verb in ("describe", "delete")]


def test_deleting(controller: Controller, motorpool: Motorpool) -> None:
    """
    A declaration is forgotten; a dry run asks whether it could be.
    """
    controller.backends.append(v1.Backend(name="backends/echo"))

    dry, done = motorpool("backends", "delete", "echo", "--dry-run"), motorpool("backends", "delete", "echo")
    document = motorpool("backends", "delete", "echo", "-o", "json")

    assert ["backends/echo would be forgotten\n", "backends/echo is forgotten\n"] == [dry.stdout, done.stdout]
    assert {"deleted": "backends/echo"} == json.loads(document.stdout)
    requests = [request for request in controller.requests if isinstance(request, v1.DeleteBackendRequest)]
    assert [True, False, False] == [request.validate_only for request in requests]


def test_what_is_used_stays(controller: Controller, motorpool: Motorpool) -> None:
    """
    The state of things forbids it, and the message names who uses it.
    """
    controller.refusal = (code_pb2.FAILED_PRECONDITION, "BACKEND_IN_USE", "It is used by deployments/chat.")

    result = motorpool("backends", "delete", "echo", "-o", "json")

    assert (6, "BACKEND_IN_USE") == (result.exit_code, error_of(result)["reason"])
