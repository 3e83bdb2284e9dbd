"""SGLang's profile and checks; test_launches.py has its launches."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from motorpool_sdk import Adapter, LaunchRequest, Parallelism, Parameter, Severity, Speculative
from motorpool_sglang.plugin import Sglang
from tests.plugins.backends.sglang.requests import CACHE, CONTAINER, FOLLOWER, LEADER, ONE, PICTURES, SEVERAL


def argv(request: LaunchRequest, *parameters: Parameter) -> tuple[str, ...]:
    return Sglang().launch(replace(request, parameters=parameters)).argv


def test_images_are_there_without_an_installed_sglang() -> None:
    """
    Every node offers the published images, each for its framework, in containers only.
    """
    versions = Sglang().profile().versions

    assert {"cuda": "0.5.23", "rocm": "0.5.15.post1-rocm", "cann": "0.5.14-ascend"} == {
        framework: version.version for version in versions for framework in version.frameworks
    }
    assert {("docker",)} == {version.executors for version in versions}


def test_the_key_is_handed_over_in_a_file() -> None:
    """
    SGLang takes a key from arguments, which everybody on a machine sees, or from a file: it is the file.
    """
    launch = Sglang().launch(ONE)

    (file,) = launch.files
    assert {"api-key": "sesame"} == json.loads(file.text)
    assert (True, ONE.files_dir) == (file.secret, file.path.parent)
    assert str(file.path) == launch.argv[launch.argv.index("--config") + 1]
    assert not any("sesame" in argument for argument in launch.argv)


@pytest.mark.parametrize(
    "option",
    ["port", "nnodes", "dist-init-addr", "base-gpu-id", "enable-custom-logit-processor", "forward-hooks", "config"],
)
def test_what_the_system_owns_or_opens_the_node_is_refused(option: str) -> None:
    """
    Ports, members and devices are Motorpool's, and nobody runs code of their own by a parameter.
    """
    (finding,) = Sglang().check(replace(ONE, parameters=(Parameter(option=option, values=("x",)),)))

    assert (Severity.ERROR, "PARAMETER_SYSTEM_OWNED") == (finding.severity, finding.reason)


def test_an_unknown_parameter_is_passed_on_with_a_warning() -> None:
    """
    A newer release's option reaches the engine.
    """
    unknown = Parameter(option="--brand-new", values=("7",), known=False)

    (finding,) = Sglang().check(replace(ONE, parameters=(unknown,)))

    assert "PARAMETER_UNKNOWN" == finding.reason
    assert ("--brand-new", "7") == argv(ONE, unknown)[-2:]


@pytest.mark.parametrize("option", ["tp-size", "pp-size", "dp-size"])
def test_the_users_parallel_sizes_win(option: str) -> None:
    """
    Where the user gave a parallel size, none is derived from the number of devices.
    """
    arguments = argv(SEVERAL, Parameter(option=option, values=("4",)))

    assert 1 == sum(argument in {"--tp-size", "--pp-size", "--dp-size"} for argument in arguments)


def test_data_parallel_attention_shares_the_tensor_group() -> None:
    """
    With --enable-dp-attention the data parallel groups lie within the tensor parallel one, which is every device.
    """
    arguments = argv(SEVERAL, Parameter(option="enable-dp-attention"), Parameter(option="dp-size", values=("2",)))

    assert "4" == arguments[arguments.index("--tp-size") + 1]


def test_a_host_cache_is_each_ranks_part_of_the_claim() -> None:
    """
    The flag's size is in gigabytes for each rank: together they hold what was claimed, and no more.
    """
    arguments = argv(replace(SEVERAL, extended_kv_cache=CACHE))

    assert "20" == arguments[arguments.index("--hicache-size") + 1]


def test_guessed_tokens_come_with_what_they_want() -> None:
    """
    SGLang wants steps, choices and tokens all three or none: of a number of tokens the others follow.
    """
    arguments = argv(replace(ONE, speculative=Speculative(algorithm="eagle3", draft_tokens=4)))

    wanted = ["--speculative-num-steps", "3", "--speculative-eagle-topk", "1", "--speculative-num-draft-tokens", "4"]
    assert wanted == list(arguments[-6:])


@pytest.mark.parametrize(
    ("version", "image", "unsafe"),
    [("0.5.9", False, 1), ("0.5.9", True, 3), ("0.5.23", False, 0), ("0.5.23", True, 1), ("dev", False, 0)],
)
def test_unsafe_releases_are_named(version: str, image: bool, unsafe: int) -> None:
    """
    A release with a known way in is a warning, by what the model is for; an image's release is not known.
    """
    request = replace(PICTURES if image else ONE, backend_version=version, api_key="")

    assert unsafe == sum(finding.reason == "VERSION_UNSAFE" for finding in Sglang().check(request))
    assert () == Sglang().check(replace(CONTAINER, backend_version=version))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"backend_version": "0.5.4"}, "VERSION_TOO_OLD"),
        ({"adapters": (Adapter(name="a", path=Path("/a")),)}, "FEATURE_UNSUPPORTED"),
        ({"speculative": Speculative(algorithm="ngram")}, "FEATURE_UNSUPPORTED"),
    ],
)
def test_pictures_are_made_by_newer_releases_alone_and_plainly(changes: dict[str, object], reason: str) -> None:
    """
    The server for pictures came with 0.5.5, and knows neither adapters by this way nor guessed tokens.
    """
    found = Sglang().check(replace(PICTURES, **changes))  # type: ignore[arg-type]  # fields by name

    assert reason in {finding.reason for finding in found if finding.severity is Severity.ERROR}


def test_a_version_that_is_gone_is_named() -> None:
    """
    A version without a program is an error that says what to do.
    """
    with pytest.raises(LookupError, match=r"sglang 0\.5\.23 is not installed on this node"):
        argv(replace(ONE, executable=""))


def test_members_of_a_gang_meet_at_the_leaders_port() -> None:
    """
    Both are told the same meeting place and sizes, each its own rank, and only the leader serves.
    """
    launches = [Sglang().launch(request) for request in (LEADER, FOLLOWER)]

    for rank, launch in enumerate(launches):
        told = dict(zip(launch.argv[2::2], launch.argv[3::2], strict=False))
        assert ("10.7.0.1:40100", "2", str(rank)) == (told["--dist-init-addr"], told["--nnodes"], told["--node-rank"])
        assert ("4", "2") == (told["--tp-size"], told["--pp-size"])
    assert [True, False] == [launch.serves for launch in launches]
    assert [True, False] == [launch.inference is not None for launch in launches]
    assert ["bond0", "eth1"] == [launch.env["NCCL_SOCKET_IFNAME"] for launch in launches]


def test_uneven_nodes_are_one_pipeline() -> None:
    """
    Where nodes have different numbers of devices the placement counts stages alone, and no tensor group is made up.
    """
    arguments = argv(replace(LEADER, parallelism=Parallelism(pipeline=6)))

    assert ("--pp-size", "6") == arguments[arguments.index("--pp-size") :][:2]
    assert "--tp-size" not in arguments
