from dataclasses import replace
from typing import Any

import pytest

from motorpool_controller.domain.backends import (
    declared_as,
    declared_profiles,
    own_profiles,
    runner_of,
    with_declared_claim,
)
from motorpool_controller.domain.declarations import definition_of, lack, profile_of, variable_arguments
from motorpool_controller.domain.fleet import MemoryModel
from tests.controller.declared import RUNNER, RUNNER_PROFILE, backend, runner, version
from tests.controller.fleets import DIGEST, node, profile, spec

PROFILES = {RUNNER: RUNNER_PROFILE, DIGEST: profile()}


def test_a_profile_follows_from_a_declaration() -> None:
    """
    Scheduling gets a backend of fixed memory, whose versions say what executes them.
    """
    made = profile_of(backend(versions=(version(), version(version="2", image="echo:2", frameworks=("cuda",)))))

    assert ("echo", MemoryModel.FIXED, "fixed", ("parrot",)) == (
        made.backend,
        made.memory_model,
        made.rules,
        made.aliases,
    )
    assert [("process", "docker"), ("docker",)] == [each.executors for each in made.versions]
    assert (True, False) == (made.cpu, made.api_key)
    assert not profile_of(backend(versions=(version(frameworks=("cuda",)),))).cpu


def test_a_definition_holds_everything() -> None:
    """
    What stands on the backend holds for a version that says nothing else.
    """
    boxed = version(version="2", image="echo:2", health_path="/up", stop_grace_seconds=1.0, container_port=8080)
    declared = backend(versions=(version(), boxed), api_key_env="KEY", start_timeout_seconds=9.0)

    plain, own = definition_of(declared, "1.0"), definition_of(declared, "2")

    assert plain is not None
    assert own is not None
    assert ("/health", 9.0, 30.0, "KEY") == (
        plain.health_path,
        plain.start_timeout_seconds,
        plain.stop_grace_seconds,
        plain.api_key_env,
    )
    assert ("/up", 9.0, 1.0, 8080) == (
        own.health_path,
        own.start_timeout_seconds,
        own.stop_grace_seconds,
        own.container_port,
    )
    assert None is definition_of(declared, "3")


@pytest.mark.parametrize(
    ("expected", "env", "image"),
    [("VARIABLE_MISSING", [], ""), (None, ["GREETING"], ""), ("HEALTH_PATH_MISSING", ["GREETING"], "echo:1")],
)
def test_what_a_version_lacks(expected: str | None, env: list[str], image: str) -> None:
    """
    A variable that nobody gives, and a container nobody can ask, are told before anything is placed.
    """
    declared = backend(versions=(version(command=("/x", "{{GREETING}}", "{{port}}", "{{MINE}}"), env={"MINE": "1"}),))
    declared = replace(declared, declaration=replace(declared.declaration, health_path=""))

    found = lack(declared, "1.0", env=env, image=image)

    assert expected == (None if found is None else found.reason)
    if expected == "VARIABLE_MISSING":
        assert found is not None
        assert "{{GREETING}}" in found.message
        assert "--env GREETING=VALUE" in found.message


def test_arguments_with_variables_of_the_environment() -> None:
    """
    What a deployment may have kept secret is found by its place among the arguments.
    """
    declared = backend(versions=(version(image="e:1", entrypoint=("/e", "{{A}}"), command=("{{port}}", "--x={{B}}")),))
    definition = definition_of(declared, "1.0")
    assert definition is not None

    assert (False, True, False, True) == variable_arguments(definition, own_image=True)
    assert (False, True) == variable_arguments(definition, own_image=False)


@pytest.mark.parametrize(
    ("said", "expected"),
    [("echo", "echo"), ("ECHO", "echo"), ("parrot", "echo"), ("two-words", "two_words"), ("x", None)],
)
def test_a_declared_backend_goes_by_name_or_alias(said: str, expected: str | None) -> None:
    """
    Names are compared as those of plugins are.
    """
    declared = {each.name: each for each in (backend(), backend("two_words", aliases=()))}

    found = declared_as(declared, said)

    assert expected == (None if found is None else found.backend)


def test_a_name_wins_over_an_alias() -> None:
    """
    Whoever says a name gets what bears it.
    """
    declared = {each.name: each for each in (backend("echo"), backend("parrot", aliases=()))}

    found = declared_as(declared, "parrot")

    assert found is not None
    assert "parrot" == found.backend


def test_profiles_are_found_by_every_name() -> None:
    """
    Names stand before aliases here too.
    """
    profiles = declared_profiles({each.name: each for each in (backend(), backend("parrot", aliases=("x-y",)))})

    assert {"echo": "echo", "parrot": "parrot", "x_y": "parrot"} == {
        name: made.backend for name, made in profiles.items()
    }


def test_a_declared_claim_is_for_deployments_that_say_nothing() -> None:
    """
    Each of host and device memory by itself; what is given by hand wins, and other backends get nothing of it.
    """
    declared = {"backends/echo": backend(claim_memory_bytes=5, claim_device_memory_bytes=7)}

    def claims(**wish: Any) -> tuple[int | None, int | None]:
        made = with_declared_claim(spec(**wish), None, declared)
        return made.claim_memory_bytes, made.claim_device_memory_bytes

    assert (5, 7) == claims(backend="parrot")
    assert (9, 7) == claims(backend="echo", claim_memory_bytes=9)
    assert (None, None) == claims(backend="llama_cpp")


def test_what_runs_declared_backends_is_none_itself() -> None:
    """
    A node's own backends are the others; its runner is found by its profile, not by its name.
    """
    assert ["llama_cpp"] == [each.backend for each in own_profiles(runner(), PROFILES)]
    assert ("custom", "") == (runner_of(runner(), PROFILES), runner_of(node(), PROFILES))
