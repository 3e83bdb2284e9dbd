"""Finding the node's llama-server."""

import pytest

from motorpool_llama_cpp.programs import Program, ProgramError, find, version_of
from tests.plugins.backends.llama_cpp.conftest import InstallProgram


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
