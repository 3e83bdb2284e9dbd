"""What the launch policy lets come to a launch, whatever a controller assigns."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from motorpool_agent.policy import Policy, PolicyError
from motorpool_agent.reconcile.assignment import Assignment, Definition, ModelSource, Parameter
from motorpool_agent.reconcile.handle import Container
from motorpool_agent.reconcile.observation import State
from motorpool_agent.runtime import permitting
from motorpool_agent.runtime.errors import LaunchError
from motorpool_agent.runtime.launching import record
from motorpool_agent.runtime.supervisor import Supervisor
from motorpool_formats.facts import ModelFacts
from motorpool_sdk.backend import Launch, MemoryModel, Option, Probe, Profile, Version
from tests.agent.runtime.fakes import assignment, desired, until_state
from tests.models.facts import EVERYTHING

pytestmark = pytest.mark.promise("P6")

PROFILE = Profile(
    backend="server",
    versions=(),
    memory_model=MemoryModel.FIXED,
    rules="fixed",
    options=(Option(name="middleware", system_owned=True), Option(name="seed")),
)
ECHO = Definition(backend="echo", version="1", command=("/bin/sh", "-c", "echo hi"))


async def refused(make: Callable[..., Supervisor], policy: Policy, wish: Assignment) -> str:
    """Return why an assignment is not launched."""
    supervisor = make(policy=lambda: policy)
    await supervisor.adopt()
    supervisor.apply(desired(wish))
    seen = await until_state(supervisor, State.ERROR)
    assert seen.last_failure is not None
    assert "POLICY_DENIED" == seen.last_failure.reason
    assert seen.launch is None
    assert 0 == seen.pid
    return seen.message


async def test_a_launch_within_the_policy_runs(make: Callable[..., Supervisor], tmp_path: Path) -> None:
    """
    The model's root and the program's path are all that it takes.
    """
    policy = Policy(roots=(str(tmp_path),), executables=(sys.executable,), images=(), devices=())
    supervisor = make(policy=lambda: policy)
    await supervisor.adopt()

    supervisor.apply(desired(assignment(tmp_path)))

    await until_state(supervisor, State.RUNNING)


async def test_a_model_elsewhere_is_not_launched(make: Callable[..., Supervisor], tmp_path: Path) -> None:
    """
    A link below a root to a file that is not.
    """
    root = tmp_path / "models"
    root.mkdir()
    (tmp_path / "secret.gguf").touch()
    (root / "m.gguf").symlink_to(tmp_path / "secret.gguf")
    wish = replace(assignment(tmp_path), model=ModelSource(kind="local_path", path=str(root / "m.gguf")))

    message = await refused(make, Policy(roots=(str(root),)), wish)

    assert f"{root}/m.gguf, which leads to {tmp_path}/secret.gguf," in message


async def test_a_models_folder_links_nowhere_else(make: Callable[..., Supervisor], tmp_path: Path) -> None:
    """
    Each file in it counts: engines read them all.
    """
    root = tmp_path / "models"
    (root / "m").mkdir(parents=True)
    (root / "m" / "config.json").symlink_to("/etc/passwd")
    wish = replace(assignment(tmp_path), model=ModelSource(kind="local_path", path=str(root / "m")))

    assert "/etc/passwd" in await refused(make, Policy(roots=(str(root),)), wish)


async def test_the_agents_own_folder_is_no_model(
    make: Callable[..., Supervisor], tmp_path: Path, data_dir: Path
) -> None:
    """
    Its key and its handles lie there, below whatever root.
    """
    (data_dir / "identity").mkdir(parents=True)
    wish = replace(assignment(tmp_path), model=ModelSource(kind="local_path", path=str(data_dir / "identity")))

    assert "agent's own folder" in await refused(make, Policy(roots=(str(tmp_path),)), wish)


async def test_a_program_that_is_not_named_is_not_launched(make: Callable[..., Supervisor], tmp_path: Path) -> None:
    """
    The message names the line that would let it.
    """
    message = await refused(make, Policy(source="/p", executables=("/bin/false",)), assignment(tmp_path))

    assert "allow it in /p: backends.server.executables = [" in message


@pytest.mark.parametrize(
    "wish",
    [
        {"served_model_name": "--middleware"},
        {"parameters": (Parameter(option="seed", values=("/etc/shadow",)),)},
        {"parameters": (Parameter(option="--x", values=("../../../../../../../../../etc/shadow",), known=False),)},
        {"parameters": (Parameter(option="seed", values=("--program",)),)},
        {"env": {"CUDA_VISIBLE_DEVICES": "7"}},
    ],
)
async def test_words_do_not_break_out(make: Callable[..., Supervisor], tmp_path: Path, wish: dict[str, object]) -> None:
    """
    Names, values and variables that a hostile controller sends.
    """
    await refused(make, Policy(), replace(assignment(tmp_path), **wish))  # type: ignore[arg-type]  # fields by name


async def test_a_policy_that_cannot_be_followed_launches_nothing(
    make: Callable[..., Supervisor], tmp_path: Path
) -> None:
    """
    And what is corrected is followed at the next attempt, without a restart of the agent.
    """
    faults = [PolicyError("/p is no TOML; correct it")]

    def read() -> Policy:
        if faults:
            raise faults[0]
        return Policy()

    supervisor = make(policy=read)
    await supervisor.adopt()
    supervisor.apply(desired(assignment(tmp_path)))
    seen = await until_state(supervisor, State.ERROR)
    faults.clear()

    assert seen.last_failure is not None
    assert "POLICY_INVALID" == seen.last_failure.reason
    await until_state(supervisor, State.RUNNING)


def parameters(tmp_path: Path, *given: Parameter) -> None:
    wish = replace(assignment(tmp_path), parameters=given)
    permitting.parameters(Policy(), wish, PROFILE, tmp_path)


@pytest.mark.parametrize("option", ["middleware", "--middleware", "--middle", "--middleware=x"])
def test_what_the_backend_says_is_motorpools_is_not_passed_on(tmp_path: Path, option: str) -> None:
    """
    Whether the controller says that it is known, or has it passed on as written.
    """
    for known in (True, False):
        with pytest.raises(LaunchError, match="Motorpool's own"):
            parameters(tmp_path, Parameter(option=option, values=("evil",), known=known))
    parameters(tmp_path, Parameter(option="seed", values=("1",)))


def test_a_models_own_code_runs_where_it_may(tmp_path: Path) -> None:
    """
    Asked for by the deployment, or by a parameter that means the same.
    """
    policy = Policy(source="/p", remote_code=False)
    option = Parameter(option="--trust_remote_code", known=False)

    permitting.wish(policy, assignment(tmp_path))
    for wish in (
        replace(assignment(tmp_path), trust_remote_code=True),
        replace(assignment(tmp_path), parameters=(option,)),
    ):
        with pytest.raises(LaunchError, match="remote_code = true into /p"):
            permitting.wish(policy, wish)


def launched(policy: Policy, wish: Assignment, tmp_path: Path, argv: tuple[str, ...], version: Version) -> None:
    made = record(
        wish, Launch(argv=argv), executor="process", directory=tmp_path, address="127.0.0.1", ports={"http": 24000}
    )
    permitting.launch(policy, wish, made, version, tmp_path, (tmp_path / "engines",))


def test_the_program_that_a_plugin_found_may_run(tmp_path: Path) -> None:
    """
    It is the machine's own, not the controller's word; a command of the deployment's is.
    """
    nothing = Policy(executables=())
    found = Version(version="1", executable="/bin/sh")

    launched(nothing, assignment(tmp_path), tmp_path, ("/bin/sh",), found)
    for wish, version in (
        (replace(assignment(tmp_path), command=("/bin/sh",)), found),
        (replace(assignment(tmp_path), definition=ECHO), found),
        (assignment(tmp_path), Version(version="1")),
    ):
        with pytest.raises(LaunchError, match="program"):
            launched(nothing, wish, tmp_path, ("/bin/sh",), version)


def test_a_container_gets_no_mount_device_or_image_beside_the_policys(tmp_path: Path) -> None:
    """
    Whatever a plugin made of the controller's words; what the agent wrote for the launch is mounted all the same.
    """
    wish = assignment(tmp_path, image="acme/x:1")
    policy = Policy(images=("acme/*",), roots=(f"{tmp_path}/models",), devices=("/dev/acme*",))
    fine = Container(
        image="acme/x:1",
        labels={},
        mounts={"/m": f"{tmp_path}/models/m", "/etc/engine.json": f"{tmp_path}/own/launch/engine.json"},
        device_nodes=("/dev/acme0",),
    )

    def run(container: Container) -> None:
        made = record(
            wish,
            Launch(argv=(), readiness=Probe(path="/health")),
            executor="docker",
            directory=tmp_path / "own",
            address="127.0.0.1",
            ports={"http": 24000},
            container=container,
        )
        permitting.launch(policy, wish, made, Version(version="1"), tmp_path / "own", ())

    run(fine)
    for changes in (
        {"image": "evil/x:1"},
        {"mounts": {"/m": "/"}},
        {"mounts": {"/m": "/etc"}},
        {"mounts": {"/m": f"{tmp_path}/models/../secret"}},
        {"device_nodes": ("/dev/mem",)},
    ):
        with pytest.raises(LaunchError) as caught:
            run(replace(fine, **changes))
        assert "POLICY_DENIED" == caught.value.reason


def test_a_controller_learns_nothing_of_other_files(tmp_path: Path) -> None:
    """
    The headers of a model are read where it may be launched from.
    """
    (tmp_path / "models").mkdir()
    (tmp_path / "secret").touch()
    (tmp_path / "models" / "link").symlink_to(tmp_path / "secret")
    asked: list[Path] = []

    def read(path: Path) -> ModelFacts:
        asked.append(path)
        return EVERYTHING

    permitted = permitting.reader(lambda: Policy(roots=(f"{tmp_path}/models",)), (), read)

    for path in (tmp_path / "secret", tmp_path / "models" / "link", tmp_path / "models", tmp_path / "models:*"):
        with pytest.raises(permitting.DeniedModelError):
            permitted(path)
    assert [] == asked
    (tmp_path / "models" / "link").unlink()
    assert EVERYTHING == permitted(tmp_path / "models")
