"""vLLM's profile and checks; test_launches.py has its launches."""

from dataclasses import replace

import pytest

from motorpool_sdk import LaunchRequest, Parallelism, Parameter, Severity
from motorpool_vllm.plugin import Vllm
from tests.plugins.backends.vllm.conftest import InstallVllm
from tests.plugins.backends.vllm.requests import CONTAINER, CPU, GOLDEN, ONE, SEVERAL, TWO_NODES, member


def argv(request: LaunchRequest, *parameters: Parameter) -> tuple[str, ...]:
    return Vllm().launch(replace(request, parameters=parameters)).argv


def test_images_are_there_without_an_installed_vllm() -> None:
    """
    Every node offers the published images, each for its framework, in containers only; processors are none of them.
    """
    profile = Vllm().profile()

    assert {"cuda": "0.32.0", "rocm": "0.32.0-rocm", "cann": "0.23.0-ascend"} == {
        framework: version.version for version in profile.versions for framework in version.frameworks
    }
    assert {("docker",)} == {version.executors for version in profile.versions}
    assert not profile.cpu


def test_an_installed_vllm_is_the_first_version(install_vllm: InstallVllm) -> None:
    """
    The node's own vLLM comes before images, runs as a process, and on processors if it was built for them.
    """
    path = install_vllm(vllm="0.32.0+cpu", torch="2.13.0+cpu")
    profile = Vllm().profile()

    first = profile.versions[0]
    assert ("0.32.0+cpu", ("cpu",), str(path)) == (first.version, first.frameworks, first.executable)
    assert profile.cpu


def test_an_installed_release_takes_the_place_of_its_image(install_vllm: InstallVllm) -> None:
    """
    A version stands once: the installed one.
    """
    install_vllm(vllm="0.32.0", torch="2.13.0")

    assert ["0.32.0", "0.32.0-rocm", "0.23.0-ascend"] == [each.version for each in Vllm().profile().versions]


def test_it_spans_nodes_by_its_own_launcher_and_by_ray() -> None:
    """
    Who is which, and where they meet, is Motorpool's to say; how many nodes there are is the user's wish.
    """
    profile = Vllm().profile()

    assert ["mp", "ray"] == [style.style for style in profile.distributed_styles]
    owned = {option.name for option in profile.options if option.system_owned}
    assert {"node-rank", "master-addr", "headless", "data-parallel-address"} <= owned


@pytest.mark.parametrize(
    "option", ["middleware", "worker-extension-cls", "tool-parser-plugin", "allowed-local-media-path", "config"]
)
def test_options_that_open_the_node_are_refused(option: str) -> None:
    """
    What would run code or read files of the node cannot be set.
    """
    (finding,) = Vllm().check(replace(ONE, parameters=(Parameter(option=option, values=("x",)),)))

    assert (Severity.ERROR, "PARAMETER_SYSTEM_OWNED") == (finding.severity, finding.reason)


@pytest.mark.parametrize(
    ("request_", "parameter", "severity", "reason"),
    [
        (ONE, Parameter(option="port", values=("1",)), Severity.ERROR, "PARAMETER_SYSTEM_OWNED"),
        (ONE, Parameter(option="--brand-new", known=False), Severity.WARNING, "PARAMETER_UNKNOWN"),
        (ONE, Parameter(option="gpu-memory-utilization", values=("1.5",)), Severity.ERROR, "PARAMETER_INVALID"),
        (ONE, Parameter(option="gpu-memory-utilization", values=("0",)), Severity.ERROR, "PARAMETER_INVALID"),
        (ONE, Parameter(option="gpu-memory-utilization", values=("nan",)), Severity.ERROR, "PARAMETER_INVALID"),
        (CPU, Parameter(option="gpu-memory-utilization", values=("0.5",)), Severity.WARNING, "PARAMETER_IGNORED"),
    ],
)
def test_a_check_finds(request_: LaunchRequest, parameter: Parameter, severity: Severity, reason: str) -> None:
    """
    What vLLM would not take, or Motorpool sets itself, is found before anything is launched.
    """
    (finding,) = Vllm().check(replace(request_, parameters=(parameter,)))

    assert (severity, reason) == (finding.severity, finding.reason)
    assert parameter.option in finding.message


@pytest.mark.parametrize(("version", "unsafe"), [("0.8.3", True), ("0.14.0", True), ("0.14.1", False), ("dev", False)])
def test_unsafe_releases_are_named(version: str, unsafe: bool) -> None:
    """
    A release with a known way in is a warning that says which release is not; an image's release is not known.
    """
    found = Vllm().check(replace(ONE, backend_version=version))

    assert unsafe == any("CVE-2026-22778" in finding.message and "0.14.1" in finding.message for finding in found)
    assert () == Vllm().check(replace(CONTAINER, backend_version=version))


@pytest.mark.parametrize("option", ["tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size"])
def test_the_users_parallel_sizes_win(option: str) -> None:
    """
    Where the user gave a parallel size, the placement decided none, and none is derived from the number of devices.
    """
    arguments = argv(replace(SEVERAL, parallelism=Parallelism()), Parameter(option=option, values=("4",)))

    assert (f"--{option}", "4") == arguments[-2:]
    assert 1 == sum("parallel" in argument for argument in arguments)


def test_the_users_adapters_win() -> None:
    """
    What the parameters say of adapters and of guessing stands in place of the deployment's word, which is told.
    """
    lora, config = Parameter(option="lora-modules", values=("a=/a",)), Parameter(option="sc", values=("{}",))
    wish = replace(GOLDEN["lora"], speculative=GOLDEN["ngram"].speculative)
    given = replace(wish, parameters=(lora, replace(config, option="speculative-config")))

    arguments = Vllm().launch(given).argv
    assert (1, 1) == (arguments.count("--lora-modules"), arguments.count("--speculative-config"))
    assert ["WISH_IGNORED", "WISH_IGNORED"] == [finding.reason for finding in Vllm().check(given)]
    assert () == Vllm().check(wish)


def test_the_users_runner_wins() -> None:
    """
    What a model is for is said once, with the user's word.
    """
    arguments = argv(replace(ONE, categories=("embedding",)), Parameter(option="runner", values=("generate",)))

    assert ("--runner", "generate") == arguments[-2:]
    assert 1 == arguments.count("--runner")


def test_a_cache_by_parameter_is_not_set_twice() -> None:
    """
    On processors the variable for the cache is left to who gave its size as a parameter.
    """
    launch = Vllm().launch(replace(CPU, parameters=(Parameter(option="kv-cache-memory-bytes", values=("1G",)),)))

    assert "VLLM_CPU_KVCACHE_SPACE" not in launch.env


def test_no_fraction_reaches_processors() -> None:
    """
    On processors vLLM would reserve that share of a node's memory: it is left out.
    """
    assert "0.5" not in argv(CPU, Parameter(option="gpu-memory-utilization", values=("0.5",)))


def test_a_version_that_is_gone_is_named() -> None:
    """
    A version without a program is an error that says what to do.
    """
    with pytest.raises(LookupError, match=r"vllm 0\.32\.0 is not installed on this node"):
        argv(replace(ONE, executable=""))


@pytest.mark.parametrize(("executor", "errors"), [("ray", 1), ("external_launcher", 1), ("mp", 0)])
def test_over_nodes_only_the_launcher_that_they_were_placed_for(executor: str, errors: int) -> None:
    """
    An executor that the members were not placed for is refused while they reserve, before anything is started.
    """
    request = member(TWO_NODES, 0)
    given = replace(request, parameters=(Parameter(option="distributed-executor-backend", values=(executor,)),))

    found = [each for each in Vllm().check(given) if each.severity is Severity.ERROR]

    assert errors == len(found), found
    assert all("leave it out" in each.message for each in found)


@pytest.mark.parametrize(
    ("cpus", "size", "expected"),
    [((0, 1), "2", "0|1"), ((4, 5, 6), "2", "4|5,6"), ((3,), "2", "nobind"), ((0, 1), "1", None)],
)
def test_processes_of_a_node_have_processors_of_their_own(
    cpus: tuple[int, ...], size: str, expected: str | None
) -> None:
    """
    Each gets a part of those that the agent may use, or none is bound where there are not enough.
    """
    request = replace(CPU, cpus=cpus, parameters=(Parameter(option="tensor-parallel-size", values=(size,)),))

    assert expected == Vllm().launch(request).env.get("VLLM_CPU_OMP_THREADS_BIND")
