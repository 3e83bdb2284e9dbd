"""From a definition and a request to a launch."""

from dataclasses import replace
from pathlib import Path

import pytest

from motorpool_custom.plugin import Custom
from motorpool_sdk import Definition, Launch, LaunchRequest, Parameter

DEFINITION = Definition(
    backend="echo",
    version="1.0",
    command=("/opt/echo", "--port", "{{port}}", "--model={{ model_path }}", "{{GREETING}}"),
    env={"GREETING": "hello", "NAME": "{{model_name}}"},
    health_path="/health",
    start_timeout_seconds=20.0,
    stop_grace_seconds=3.0,
)
REQUEST = LaunchRequest(
    backend_version="1.0",
    framework="cpu",
    model_path=Path("/models/some model.bin"),
    served_model_name="chat",
    listen_address="10.0.0.7",
    port=24000,
    api_key="sesame",
    definition=DEFINITION,
)


def launch(definition: Definition = DEFINITION, **changes: object) -> Launch:
    return Custom().launch(replace(REQUEST, definition=definition, **changes))  # type: ignore[arg-type]  # kwargs


def reasons(definition: Definition | None = DEFINITION, **changes: object) -> list[str]:
    request = replace(REQUEST, definition=definition, **changes)  # type: ignore[arg-type]  # kwargs
    return [finding.reason for finding in Custom().check(request)]


def test_a_profile_says_that_declared_backends_run_here() -> None:
    """
    There is nothing to choose from but what was declared.
    """
    profile = Custom().profile()

    assert (True, (), "fixed") == (profile.runs_declared, profile.versions, profile.rules)


def test_variables_become_values_and_never_further_arguments() -> None:
    """
    A value with spaces, quotes or braces stays in its argument as it is.
    """
    made = launch(env={"GREETING": "a 'b' {{port}} $HOME; rm"})

    assert (
        *("/opt/echo", "--port", "24000", "--model=/models/some model.bin"),
        "a 'b' {{port}} $HOME; rm",
    ) == made.argv
    assert {"GREETING": "hello", "NAME": "chat"} == made.env


def test_a_variable_that_no_deployment_sets_is_the_versions_own() -> None:
    """
    The environment of the version is what its templates fall back to.
    """
    assert "hello" == launch().argv[-1]


@pytest.mark.parametrize(
    ("devices", "said"), [((), "0[]"), (("GPU-5a1f",), "1[0]"), (("GPU-5a1f", "GPU-77"), "2[0,1]")]
)
def test_devices_are_numbered_as_the_engine_sees_them(devices: tuple[str, ...], said: str) -> None:
    """
    It is shown the claimed devices only: the first is 0, whatever its place in the machine.
    """
    made = launch(replace(DEFINITION, command=("/x", "{{gpu_count}}[{{gpu_ids}}]")), device_ids=devices)

    assert said == made.argv[1]


def test_the_address_is_the_one_to_listen_on() -> None:
    """
    `node_ip` follows who may reach it: loopback where the deployment is exposed to its node alone.
    """
    made = launch(replace(DEFINITION, command=("/x", "{{node_ip}}")), listen_address="127.0.0.1")

    assert ("/x", "127.0.0.1") == made.argv


def test_parameters_follow_the_command() -> None:
    """
    Known ones under their name, others as they were written; they are no templates.
    """
    parameters = (
        Parameter(option="size", values=("3",)),
        Parameter(option="-v", known=False),
        Parameter(option="--at", values=("{{port}}",), known=False),
    )

    assert ("--size", "3", "-v", "--at", "{{port}}") == launch(parameters=parameters).argv[-5:]


def test_the_key_goes_where_the_declaration_says() -> None:
    """
    It is a secret of the launch, and nothing where the engine checks none.
    """
    keyed = launch(replace(DEFINITION, api_key_env="ECHO_KEY"))

    assert {"ECHO_KEY": "sesame"} == keyed.secrets
    assert {} == launch().secrets
    assert {} == launch(replace(DEFINITION, api_key_env="ECHO_KEY"), api_key="").secrets


def test_times_and_readiness_are_the_declared_ones() -> None:
    """
    Without a path to ask, a process is ready when its port accepts.
    """
    made = launch()

    assert made.readiness is not None
    assert ("/health", 20.0, 3.0) == (made.readiness.path, made.start_timeout_seconds, made.stop_grace_seconds)
    assert None is launch(replace(DEFINITION, health_path="")).readiness


def test_an_image_gets_the_command_as_its_arguments() -> None:
    """
    The image's own entrypoint takes them, or the one that was declared; it listens on its own port.
    """
    boxed = replace(DEFINITION, image="echo:1", command=("--at", "{{port}}"), container_port=8080)

    plain, other = launch(boxed, image="echo:1"), launch(replace(boxed, entrypoint=("/srv",)), image="echo:1")

    assert ("echo:1", (), ("--at", "8080"), 8080) == (plain.image, plain.entrypoint, plain.argv, plain.container_port)
    assert (("/srv",), ("--at", "8080")) == (other.entrypoint, other.argv)


def test_a_process_in_a_deployments_image_keeps_its_program() -> None:
    """
    What was declared as a process runs its own program there, and not the image's.
    """
    made = launch(image="python:3")

    assert ("python:3", ("/opt/echo",), "--port") == (made.image, made.entrypoint, made.argv[0])
    assert None is made.container_port


@pytest.mark.parametrize(
    ("expected", "definition", "changes"),
    [
        ([], DEFINITION, {}),
        (["DEFINITION_MISSING"], None, {}),
        (["VARIABLE_MISSING"], replace(DEFINITION, env={}), {}),
        ([], replace(DEFINITION, env={}), {"env": {"GREETING": ""}}),
        # Its own default is a template, and a value is not looked at again.
        (["VARIABLE_MISSING"], replace(DEFINITION, env={"GREETING": "{{port}}"}), {}),
        (["COMMAND_MISSING"], replace(DEFINITION, command=()), {}),
        (["HEALTH_PATH_MISSING"], replace(DEFINITION, health_path=""), {"image": "echo:1"}),
    ],
)
def test_what_cannot_be_launched_is_told(
    expected: list[str], definition: Definition | None, changes: dict[str, object]
) -> None:
    """
    A definition that lacks something is an error before anything is executed.
    """
    assert expected == reasons(definition, **changes)
