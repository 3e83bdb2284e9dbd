"""llama.cpp's profile, checks and launches."""

from dataclasses import replace
from pathlib import Path

import pytest

from motorpool_llama_cpp.options import OPTIONS
from motorpool_llama_cpp.plugin import LAUNCHER_VERSION, LlamaCpp
from motorpool_sdk import LaunchRequest, MemoryModel, Parameter, Severity
from tests.plugins.backends.llama_cpp.conftest import InstallProgram

REQUEST = LaunchRequest(
    backend_version=LAUNCHER_VERSION,
    framework="cpu",
    model_path=Path("/models/m.gguf"),
    served_model_name="smol",
    listen_address="127.0.0.1",
    port=4001,
    engine_dir=Path("/data/engines/llama_cpp/x"),
    api_key="sesame",
    cpu_count=4,
)

PROGRAM = replace(REQUEST, backend_version="b11434", engine_dir=None, executable="/usr/bin/llama-server")


def argv(request: LaunchRequest) -> tuple[str, ...]:
    return LlamaCpp().launch(request).argv


def option(arguments: tuple[str, ...], name: str) -> str:
    return arguments[arguments.index(name) + 1]


def test_every_node_can_run_the_launcher() -> None:
    """
    Without a llama-server the one version is xllamacpp's, with its exact requirement and the launcher's text.
    """
    (version,) = LlamaCpp().profile().versions

    assert version.environment is not None
    assert ("xllamacpp==2026.10.11549",) == version.environment.requirements
    assert "def main(" in version.environment.files["llama_server.py"]
    compile(version.environment.files["llama_server.py"], "llama_server.py", "exec")


def test_an_installed_program_is_the_first_version(install_program: InstallProgram) -> None:
    """
    A llama-server of the node is listed before the launcher, with its path and nothing to install.
    """
    path = install_program()
    program, launcher = LlamaCpp().profile().versions

    assert ("b11434", str(path), None) == (program.version, program.executable, program.environment)
    assert LAUNCHER_VERSION == launcher.version


def test_scheduling_learns_what_it_needs() -> None:
    """
    Layers of GGUF, on processors too, with a key, health, metrics, and the meanings that memory is planned with.
    """
    profile = LlamaCpp().profile()

    assert (MemoryModel.LAYERS, "gguf", ("gguf",)) == (profile.memory_model, profile.rules, profile.formats)
    assert (True, True, "/health", "/metrics") == (
        profile.cpu,
        profile.api_key,
        profile.health_path,
        profile.metrics_path,
    )
    assert {"context_length": "ctx-size", "parallel": "parallel", "gpu_layers": "n-gpu-layers"}.items() <= {
        each.meaning: each.name for each in OPTIONS
    }.items()


def test_the_launch_is_the_engines_python_and_our_launcher() -> None:
    """
    The launcher's version runs in its own environment, and the key travels in the environment only.
    """
    launch = LlamaCpp().launch(replace(REQUEST, context_length=4096, parallel=2))

    assert (
        "/data/engines/llama_cpp/x/bin/python",
        "/data/engines/llama_cpp/x/files/llama_server.py",
        *("--model", "/models/m.gguf"),
        *("--alias", "smol"),
        *("--host", "127.0.0.1"),
        *("--port", "4001"),
        "--metrics",
        *("--ctx-size", "4096"),
        *("--parallel", "2"),
        *("--threads", "4"),
        *("--cache-ram", "0"),
        *("--n-gpu-layers", "0"),
    ) == launch.argv
    assert {"LLAMA_API_KEY": "sesame"} == launch.secrets
    assert launch.readiness is not None
    assert ("/health", 10.0, 600.0) == (
        launch.readiness.path,
        launch.stop_grace_seconds,
        launch.start_timeout_seconds,
    )


def test_without_a_key_there_is_no_secret() -> None:
    """
    An instance that asks for no key gets none.
    """
    assert {} == LlamaCpp().launch(replace(REQUEST, api_key="")).secrets


def test_the_users_parameters_win_over_defaults() -> None:
    """
    What the user said of threads, context or slots is said once, with the user's value, in the user's order.
    """
    said = (
        Parameter(option="threads", values=("1",)),
        Parameter(option="ctx-size", values=("512",)),
        Parameter(option="no-warmup"),
    )
    arguments = argv(replace(REQUEST, context_length=4096, parameters=said))

    assert ("--threads", "1", "--ctx-size", "512", "--no-warmup") == arguments[-5:]
    assert 1 == arguments.count("--threads") == arguments.count("--ctx-size")


def test_a_program_is_launched_by_its_path() -> None:
    """
    A llama-server of the node is launched itself, kept off devices when it was placed on processors, and gets unknown
    parameters as they were written.
    """
    said = (
        Parameter(option="n-gpu-layers", values=("99",)),
        Parameter(option="--brand-new", values=("7",), known=False),
    )
    arguments = argv(replace(PROGRAM, parameters=said))

    assert "/usr/bin/llama-server" == arguments[0]
    assert ("none", "0") == (option(arguments, "--device"), option(arguments, "--n-gpu-layers"))
    assert ("--brand-new", "7") == arguments[-2:]
    assert "99" not in arguments


def test_layers_go_where_they_were_placed() -> None:
    """
    On devices, the placement's layers and split are handed over.
    """
    placed = replace(PROGRAM, framework="cuda", offloaded_layers=20, tensor_split=(3.0, 1.0))
    arguments = argv(placed)

    assert ("20", "3,1") == (option(arguments, "--n-gpu-layers"), option(arguments, "--tensor-split"))
    assert "--device" not in arguments


def test_a_version_that_is_gone_is_named() -> None:
    """
    A version without a program or environment is an error that says so.
    """
    with pytest.raises(LookupError, match=r"llama_cpp b11434 is no version of this node any more"):
        argv(replace(PROGRAM, executable=""))


@pytest.mark.parametrize(
    ("version", "parameter", "severity", "reason"),
    [
        (LAUNCHER_VERSION, Parameter(option="--zork", known=False), Severity.ERROR, "PARAMETER_UNKNOWN"),
        (LAUNCHER_VERSION, Parameter(option="lora", values=("x",)), Severity.ERROR, "PARAMETER_UNKNOWN"),
        ("b11434", Parameter(option="--zork", known=False), Severity.WARNING, "PARAMETER_UNKNOWN"),
        ("b11434", Parameter(option="port", values=("1",)), Severity.ERROR, "PARAMETER_SYSTEM_OWNED"),
        ("b11434", Parameter(option="n-gpu-layers", values=("9",)), Severity.WARNING, "PARAMETER_IGNORED"),
    ],
)
def test_a_check_finds(version: str, parameter: Parameter, severity: Severity, reason: str) -> None:
    """
    A parameter that this version does not take, or that is Motorpool's, is found before anything is launched.
    """
    (finding,) = LlamaCpp().check(replace(REQUEST, backend_version=version, parameters=(parameter,)))

    assert (severity, reason) == (finding.severity, finding.reason)
    assert parameter.option in finding.message


def test_a_plain_request_has_no_findings() -> None:
    """
    What both versions take is not remarked upon.
    """
    said = (Parameter(option="ctx-size", values=("512",)), Parameter(option="embeddings"))
    assert () == LlamaCpp().check(replace(REQUEST, parameters=said))


def test_claimed_devices_are_named_to_a_program() -> None:
    """
    A llama-server on devices is told which of those it sees to use, and to fail where it sees none.
    """
    launched = argv(replace(PROGRAM, framework="cuda", device_ids=("GPU-a", "GPU-b"), offloaded_layers=33))

    assert "CUDA0,CUDA1" == option(launched, "--device")
    assert "33" == option(launched, "--n-gpu-layers")


def test_an_image_brings_the_program() -> None:
    """
    In an image the arguments alone are ours, for its entrypoint or for the deployment's command in its place.
    """
    request = replace(REQUEST, engine_dir=None, image="llama:1", listen_address="0.0.0.0")
    launch = LlamaCpp().launch(request)
    commanded = LlamaCpp().launch(replace(request, command=("/app/llama-server",)))

    assert ("llama:1", (), "--model") == (launch.image, launch.entrypoint, launch.argv[0])
    assert ("0.0.0.0", "0") == (option(launch.argv, "--host"), option(launch.argv, "--n-gpu-layers"))
    assert "--device" not in launch.argv
    assert ("/app/llama-server",) == commanded.entrypoint


def test_an_image_knows_more_options_than_the_launcher() -> None:
    """
    What only a llama-server knows is no error where an image is to run it.
    """
    parameters = (Parameter(option="mlock", values=()),)
    request = replace(REQUEST, engine_dir=None, image="llama:1", parameters=parameters)

    assert not [each for each in LlamaCpp().check(request) if each.severity is Severity.ERROR]


PROJECTORS = (Path("/models/towers/mmproj-F32.gguf"), Path("/models/towers/mmproj-Q8_0.gguf"))


def test_the_projector_beside_the_model_is_loaded() -> None:
    """
    The first one, unless the user names another, by its path or by its name alone, or none.
    """

    def projector(*parameters: Parameter) -> str | None:
        arguments = argv(replace(PROGRAM, projectors=PROJECTORS, parameters=parameters))
        return option(arguments, "--mmproj") if "--mmproj" in arguments else None

    assert str(PROJECTORS[0]) == projector()
    assert str(PROJECTORS[1]) == projector(Parameter(option="mmproj", values=("mmproj-Q8_0.gguf",)))
    assert "/elsewhere/mmproj-Q8_0.gguf" == projector(
        Parameter(option="mmproj", values=("/elsewhere/mmproj-Q8_0.gguf",))
    )
    assert projector(Parameter(option="no-mmproj")) is None
    assert "--mmproj" not in argv(PROGRAM)
