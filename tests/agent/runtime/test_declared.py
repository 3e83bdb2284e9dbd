"""From an assignment of a declared backend to a launch: what the agent itself insists on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from motorpool_agent.policy import Policy
from motorpool_agent.reconcile.assignment import Assignment, Definition
from motorpool_agent.runtime import choosing, launching, permitting
from motorpool_agent.runtime.errors import LaunchError
from motorpool_sdk.backend import Launch, MemoryModel, Profile, Version
from tests.agent.runtime.fakes import assignment

RUNNER = Profile(backend="custom", versions=(), memory_model=MemoryModel.FIXED, rules="fixed", runs_declared=True)
PLAIN = replace(RUNNER, runs_declared=False, versions=(Version(version="1.0"),))
DEFINITION = Definition(backend="echo", version="1.0", command=("/opt/echo", "{{port}}"), env={"HOME_PAGE": "x"})


def declared(folder: Path, definition: Definition = DEFINITION, **changes: object) -> Assignment:
    made = replace(assignment(folder), backend="custom", backend_version="1.0", definition=definition)
    return replace(made, **changes)  # type: ignore[arg-type]  # kwargs


def test_the_version_is_the_definitions(tmp_path: Path) -> None:
    """
    The node's plugin has none: a process, or a container where an image was declared.
    """
    process = choosing.version_of(RUNNER, declared(tmp_path))
    container = choosing.version_of(RUNNER, declared(tmp_path, replace(DEFINITION, image="echo:1")))

    assert ("1.0", ("process", "docker"), "") == (process.version, process.executors, process.image)
    assert "echo:1" == choosing.image_of(container, declared(tmp_path))
    assert "echo:2" == choosing.image_of(container, declared(tmp_path, image="echo:2"))
    assert "" == choosing.image_of(process, declared(tmp_path))


@pytest.mark.parametrize("runner", [True, False])
def test_a_plugin_of_another_kind_is_not_asked(tmp_path: Path, runner: bool) -> None:
    """
    A definition goes to what runs declared backends, and nothing else does.
    """
    wish = declared(tmp_path)

    with pytest.raises(LaunchError, match="upgrade the older one"):
        choosing.version_of(PLAIN if runner else RUNNER, wish if runner else replace(wish, definition=None))


def test_the_plugin_is_asked_with_everything(tmp_path: Path) -> None:
    """
    Definition and variables of the deployment reach it; a plugin that knows its backend gets neither.
    """
    wish = declared(tmp_path, env={"GREETING": "hi"})
    asked = launching.request(wish, path=tmp_path, address="127.0.0.1", port=1, engine_dir=None)
    other = launching.request(
        replace(wish, definition=None), path=tmp_path, address="127.0.0.1", port=1, engine_dir=None
    )

    assert asked.definition is not None
    assert (DEFINITION.command, {"GREETING": "hi"}) == (asked.definition.command, asked.env)
    assert (None, {}) == (other.definition, other.env)


@pytest.mark.promise("P6")
@pytest.mark.parametrize(
    "definition",
    [
        replace(DEFINITION, env={"LD_PRELOAD": "/x.so"}),
        replace(DEFINITION, env={"PYTHONPATH": "/x"}),
        replace(DEFINITION, env={"MOTORPOOL_INSTANCE": "x"}),
        replace(DEFINITION, env={"A=B": "x"}),
        replace(DEFINITION, env={"A": "x\0y"}),
        replace(DEFINITION, api_key_env="LD_LIBRARY_PATH"),
    ],
)
def test_an_environment_that_changes_code_is_denied(tmp_path: Path, definition: Definition) -> None:
    """
    Whatever a controller declares: the agent's own policy holds for definitions as for deployments.
    """
    with pytest.raises(LaunchError) as caught:
        permitting.wish(Policy(), declared(tmp_path, definition))

    assert ("POLICY_DENIED", True) == (caught.value.reason, caught.value.final)


def test_secrets_among_arguments_are_not_shown(tmp_path: Path) -> None:
    """
    A variable that is named like a secret shows as little in the command as in the environment.
    """
    definition = replace(DEFINITION, env={"HF_TOKEN": "hf_0123456789"})
    wish = declared(tmp_path, definition, env={"DB_PASSWORD": "correct horse", "MAX_TOKENS": "8", "NAME": "plain name"})
    launch = Launch(
        argv=("/opt/echo", "--hub=hf_0123456789", "correct horse", "--tokens=8", "plain name"), env=definition.env
    )

    record = launching.record(
        wish, launch, executor="process", directory=tmp_path, address="127.0.0.1", ports={"http": 8080}
    )

    assert ("/opt/echo", "--hub=***", "***", "--tokens=8", "plain name") == record.rendered.argv
    assert launch.argv == record.argv
    assert ("***", "***", "plain name") == (
        record.rendered.env["HF_TOKEN"],
        record.rendered.env["DB_PASSWORD"],
        record.rendered.env["NAME"],
    )


def test_a_deployments_variable_wins(tmp_path: Path) -> None:
    """
    What the version sets is for deployments that say nothing.
    """
    wish = declared(tmp_path, env={"GREETING": "hi"})
    launch = Launch(argv=("/opt/echo",), env={"GREETING": "hello", "OTHER": "1"})

    record = launching.record(
        wish, launch, executor="process", directory=tmp_path, address="127.0.0.1", ports={"http": 8080}
    )

    assert ("hi", "1") == (record.environment["GREETING"], record.environment["OTHER"])
