"""Finding the node's llama-server."""

import pytest

from motorpool_llama_cpp.programs import Program, ProgramError, device_names, find, frameworks_of, version_of
from tests.plugins.backends.llama_cpp.conftest import InstallProgram

CUDA_DEVICES = """
ggml_cuda_init: found 2 CUDA devices:
  Device 0: NVIDIA H200, compute capability 9.0, VMM: yes
  Device 1: NVIDIA H200, compute capability 9.0, VMM: yes
Available devices:
  CUDA0: NVIDIA H200 (143156 MiB, 142630 MiB free)
  CUDA1: NVIDIA H200 (143156 MiB, 142630 MiB free)
"""


def test_without_a_program_there_is_none() -> None:
    """
    A node without llama-server has no program of its own.
    """
    assert find() is None


def test_a_program_on_path_is_found(install_program: InstallProgram) -> None:
    """
    A llama-server on PATH is found with its build number.
    """
    path = install_program()

    assert Program(path=str(path), version="b11434") == find()


def test_a_named_program_comes_first(install_program: InstallProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    MOTORPOOL_LLAMA_SERVER wins over PATH.
    """
    install_program()
    named = install_program("version: 12000 (abc)", name="my-server")
    monkeypatch.setenv("MOTORPOOL_LLAMA_SERVER", str(named))

    assert Program(path=str(named), version="b12000") == find()


@pytest.mark.parametrize(
    ("said", "status", "message"),
    [("version: 1", 1, "exit status 1"), ("hello", 0, "no line 'version: …' in 'hello"), (None, 0, "no program here")],
)
def test_a_named_program_that_does_not_run_is_an_error(
    install_program: InstallProgram,
    monkeypatch: pytest.MonkeyPatch,
    said: str | None,
    status: int,
    message: str,
) -> None:
    """
    What the operator named is not silently replaced by something else.
    """
    if said is not None:
        install_program(said, status=status, name="broken")
    install_program()
    monkeypatch.setenv("MOTORPOOL_LLAMA_SERVER", "broken")

    with pytest.raises(ProgramError, match=message):
        find()


def test_a_broken_program_on_path_is_left_out(
    install_program: InstallProgram, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A llama-server that happens to be there and does not run is no version, and the log says why.
    """
    install_program("Illegal instruction", status=132)

    assert find() is None
    assert "is not used: it did not tell its version" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("version: 11434 (0c1f2e3)\nbuilt with GNU 12.2.0 for Linux x86_64\n", "b11434"),
        ("ggml_cuda_init: found 1 device\nversion: 5001 (abc)\n", "b5001"),
        ("version: 0.7.0+dfsg-2\n", "0.7.0+dfsg-2"),
    ],
)
def test_versions_are_read(said: str, version: str) -> None:
    """
    A build number becomes "b" and the number, as llama.cpp names its releases; anything else stays as it is.
    """
    assert version == version_of(said)


@pytest.mark.parametrize(
    ("said", "frameworks"),
    [
        ("Available devices:\n", ("cpu",)),
        (CUDA_DEVICES, ("cpu", "cuda")),
        ("Available devices:\n  ROCm0: AMD Instinct MI300X (196592 MiB, 196288 MiB free)\n", ("cpu", "rocm")),
        ("Available devices:\n  Vulkan0: NVIDIA GeForce RTX 4090 (24564 MiB, 23000 MiB free)\n", ("cpu", "vulkan")),
        ("Available devices:\n  NEW1: A stranger's card (8192 MiB, 8000 MiB free)\n", ("cpu", "new")),
        ("Available devices:\n  BLAS: OpenBLAS (0 MiB, 0 MiB free)\n  CPU0: EPYC (1 MiB, 1 MiB free)\n", ("cpu",)),
        ("error: invalid argument: --list-devices\n", ("cpu",)),
    ],
)
def test_frameworks_are_those_of_the_devices_it_lists(said: str, frameworks: tuple[str, ...]) -> None:
    """
    A build offers what it sees devices of, by ggml's name for it, a stranger's too; and processors always.
    """
    assert frameworks == frameworks_of(said)


@pytest.mark.parametrize(
    ("framework", "name"), [("cuda", "CUDA1"), ("rocm", "ROCm1"), ("vulkan", "Vulkan1"), ("new", "NEW1")]
)
def test_devices_are_named_as_the_program_lists_them(framework: str, name: str) -> None:
    """
    The devices that an engine sees are numbered from 0, under the name by which its build lists them.
    """
    first, second = device_names(framework, 2)

    assert (name, f"{name[:-1]}0") == (second, first)
    assert ("cpu", framework) == frameworks_of(f"Available devices:\n  {name}: A card (1 MiB, 1 MiB free)\n")


def test_a_program_offers_its_devices_framework(install_program: InstallProgram) -> None:
    """
    A llama-server that lists CUDA devices runs on those too.
    """
    path = install_program(devices='echo "  CUDA0: NVIDIA H200 (143156 MiB, 142630 MiB free)"')

    assert Program(path=str(path), version="b11434", frameworks=("cpu", "cuda")) == find()


def test_a_program_that_lists_no_devices_runs_on_processors(
    install_program: InstallProgram, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A llama-server too old to list devices is used without any, and the log says so.
    """
    path = install_program(devices="exit 1")

    assert Program(path=str(path), version="b11434", frameworks=("cpu",)) == find()
    assert "is used on processors only: it did not list its devices" in capsys.readouterr().out
