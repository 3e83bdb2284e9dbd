"""The launcher as a process. What stands in for xllamacpp here is foreign to us; the real one is asked in tests/e2e."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from motorpool_llama_cpp import launcher

XLLAMACPP = """
import json, os, sys

class Bag:
    def __init__(self):
        self.__dict__["set"] = {}
    def __getattr__(self, name):
        return self.__dict__["set"].setdefault(name, Bag())
    def __setattr__(self, name, value):
        self.__dict__["set"][name] = value

def plain(value):
    if isinstance(value, Bag):
        return {name: plain(each) for name, each in value.__dict__["set"].items()}
    return sorted(value) if isinstance(value, set) else value

class ggml_type:
    __members__ = {"GGML_TYPE_F16": 1, "GGML_TYPE_Q8_0": 8}

class llama_pooling_type:
    LLAMA_POOLING_TYPE_RANK = 4
    __members__ = {"LLAMA_POOLING_TYPE_RANK": 4}

CommonParams = Bag

class Server:
    def __init__(self, parameters):
        os.write(2, b"0.00.1 I srv  init: loading\\n")
        if "broken" in parameters.model.path:
            os.write(2, b"0.00.2 E llama_model_load: tensor 'x' is missing\\n0.00.3 E srv  init: exiting\\n")
            raise RuntimeError("Failed to init server, please check the input params.")
        self.listening_address = json.dumps(plain(parameters))
"""

Launch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    (tmp_path / "xllamacpp.py").write_text(XLLAMACPP)
    path = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = sys.argv[1:]; "
    run = f"import runpy; runpy.run_path({launcher.__file__!r}, run_name='__main__')"
    return [sys.executable, "-c", path + run, "llama_server.py"]


@pytest.fixture
def launch(command: list[str], tmp_path: Path) -> Launch:
    def run(
        *arguments: str, model: str = "good.gguf", content: bytes = b"GGUF...."
    ) -> subprocess.CompletedProcess[str]:
        (tmp_path / model).write_bytes(content)
        return subprocess.run(
            [*command, "--model", str(tmp_path / model), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@contextmanager
def serving(
    command: list[str], model: Path, *arguments: str, env: dict[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    model.write_bytes(b"GGUF....")
    with subprocess.Popen(
        [*command, "--model", str(model), "--port", str(free_port()), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=env,
    ) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline()
        process.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def last_line(finished: subprocess.CompletedProcess[str]) -> str:
    return finished.stderr.splitlines()[-1]


def test_a_missing_model_is_the_last_line(launch: Launch, tmp_path: Path) -> None:
    """
    A model that is not there ends the launcher with the path and the reason.
    """
    finished = launch("--model", "/no/such.gguf")

    assert launcher.FAILED == finished.returncode
    assert "launcher: model /no/such.gguf cannot be read: No such file or directory" == last_line(finished)


def test_another_format_is_the_last_line(launch: Launch) -> None:
    """
    A file that is no GGUF is not given to llama.cpp.
    """
    finished = launch(content=b"PK\3\4")

    assert launcher.FAILED == finished.returncode
    assert last_line(finished).endswith("good.gguf is no GGUF file")


def test_a_busy_port_is_the_last_line(launch: Launch) -> None:
    """
    A port that somebody listens on is named.
    """
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        finished = launch("--port", str(port))

    assert launcher.FAILED == finished.returncode
    assert f"launcher: cannot listen at 127.0.0.1 port {port}: Address already in use" == last_line(finished)


def test_llama_cpps_first_error_is_the_last_line(launch: Launch) -> None:
    """
    Where llama.cpp refuses the model, its whole log is passed on and its first error is the reason.
    """
    finished = launch("--port", str(free_port()), model="broken.gguf")

    assert launcher.FAILED == finished.returncode
    assert last_line(finished).endswith("broken.gguf: llama_model_load: tensor 'x' is missing")
    assert "0.00.1 I srv  init: loading" in finished.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--zork", "1"), "launcher: unknown option --zork; this launcher of xllamacpp knows --ctx-size --parallel"),
        (("--ctx-size", "many"), "launcher: argument --ctx-size/-c: invalid int value: 'many'"),
        (("--ctx", "1"), "launcher: unknown option --ctx;"),
        (
            ("--cache-type-k", "q9", "--port", "0"),
            "launcher: an option has a value that llama.cpp does not take: --cache-type-k q9; say one of f16, q8_0",
        ),
    ],
)
def test_a_wrong_option_is_the_last_line(launch: Launch, arguments: tuple[str, ...], message: str) -> None:
    """
    An option that the launcher does not know, or a value that it cannot take, is named with what it could be.
    """
    finished = launch(*arguments)

    assert launcher.MISUSED == finished.returncode
    assert last_line(finished).startswith(message)


def test_options_reach_llama_cpp(command: list[str], tmp_path: Path) -> None:
    """
    Options, in long and short form, and the key from the environment arrive in llama.cpp's parameters.
    """
    said = "-c 512 -np 3 --threads 5 --no-warmup --cache-type-k q8_0 --rerank --alias smol --metrics"
    env = {"LLAMA_API_KEY": "sesame"}
    with serving(command, tmp_path / "m.gguf", *said.split(" "), env=env) as (_, line):
        for parameter in (
            '"n_ctx": 512',
            '"n_parallel": 3',
            '"cpuparams": {"n_threads": 5}',
            '"cpuparams_batch": {"n_threads": 5}',
            '"warmup": false',
            '"cache_type_k": 8',
            '"embedding": true',
            '"pooling_type": 4',
            '"model_alias": ["smol"]',
            '"endpoint_metrics": true',
            '"api_keys": ["sesame"]',
            '"hostnames": ["127.0.0.1"]',
        ):
            assert parameter in line


def test_term_is_a_clean_end(command: list[str], tmp_path: Path) -> None:
    """
    TERM ends a serving launcher with status 0.
    """
    with serving(command, tmp_path / "m.gguf") as (process, line):
        assert line.startswith(f"launcher: serving {tmp_path / 'm.gguf'} at ")
        process.terminate()
        assert 0 == process.wait(timeout=20)
