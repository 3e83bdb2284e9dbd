import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from motorpool import v1
from tests.cli.controller import Controller
from tests.cli.fleet import fill, instance

MOTORPOOL = Path(sys.executable).parent / "motorpool"
pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """
    A shell's background job ignores interrupts, and what it starts inherits that.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@contextmanager
def started(controller: Controller, *words: str) -> Iterator[subprocess.Popen[str]]:
    """The installed command in a process of its own."""
    with subprocess.Popen(
        [MOTORPOOL, *words],
        env={**os.environ, "MOTORPOOL_CONFIG": str(controller.client_file)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_version(controller: Controller) -> None:
    """
    The installed command says its version.
    """
    with started(controller, "--version") as process:
        assert (0, f"motorpool {version('motorpool-cli')}\n", "") == ended(process)


def test_without_a_command(controller: Controller) -> None:
    """
    Alone it prints its help, and that is a usage error.
    """
    with started(controller) as process:
        code, out, err = ended(process)

    assert 2 == code
    assert "Usage: motorpool" in out + err
    assert "Exit codes:" in out + err


def test_a_table_in_a_pipe(controller: Controller) -> None:
    """
    In a pipe a table has no colours and no folded lines.
    """
    fill(controller)

    with started(controller, "ps") as process:
        code, out, err = ended(process)

    assert (0, 2, "") == (code, out.count("\n"), err)
    assert "\x1b" not in out


def test_a_failure_in_a_pipe(controller: Controller) -> None:
    """
    A failure leaves stdout empty, and stderr holds one line of JSON and nothing of gRPC's own log.
    """
    with started(controller, "--ca-file", "/etc/hostname", "ps", "-o", "json") as process:
        code, out, err = ended(process)

    assert (2, "") == (code, out)
    assert "CLIENT_CONFIG_INVALID" == json.loads(err)["error"]["reason"]


def test_a_reader_that_leaves(controller: Controller) -> None:
    """
    `motorpool ps | head -1` ends without a word.
    """
    for number in range(4000):
        controller.put(instance(name=f"smollm2-{number}"))

    with started(controller, "ps") as process:
        assert process.stdout
        process.stdout.readline()
        process.stdout.close()
        process.stdout = None
        code, _, err = ended(process)

    assert (-signal.SIGPIPE, "") == (code, err)


def test_interrupted_logs(controller: Controller) -> None:
    """
    Ctrl-C ends `logs --follow` with 130, and without a word.
    """
    fill(controller)
    controller.logs["instances/smollm2-x7k2p"] = ["first"]

    with started(controller, "logs", "smollm2", "--follow") as process:
        assert process.stdout
        assert "first\n" == process.stdout.readline()
        assert "still here\n" == process.stdout.readline()
        process.send_signal(signal.SIGINT)
        code, _, err = ended(process)

    assert (130, "") == (code, err)


def test_interrupted_events(controller: Controller) -> None:
    """
    Ctrl-C ends `events --follow` with 130, and without a word.
    """
    fill(controller)

    with started(controller, "events", "--follow", "-o", "json") as process:
        assert process.stdout
        assert ["events/1", "events/2"] == [json.loads(process.stdout.readline())["name"] for _ in range(2)]
        process.send_signal(signal.SIGINT)
        code, _, err = ended(process)

    assert (130, "") == (code, err)


@pytest.mark.parametrize("output", ["table", "json"])
def test_interrupted_deploy(controller: Controller, output: str) -> None:
    """
    Ctrl-C while waiting says that the deployment stands, and leaves it.
    """
    watched: list[bool] = []
    controller.script = [
        lambda: controller.put(instance(v1.INSTANCE_STATE_STARTING)),
        lambda: watched.append(True),
    ]

    with started(controller, "deploy", "smollm2", "-m", "/m.gguf", "--wait", "-o", output) as process:
        wait_for(lambda: watched)
        process.send_signal(signal.SIGINT)
        code, _, err = ended(process)

    assert 130 == code
    assert "Interrupted. deployments/smollm2 stands, and goes on by itself" in err
    assert "motorpool delete smollm2" in err
    assert "Traceback" not in err
    assert ["deployments/smollm2"] == list(controller.deployments)


def test_interrupted_delete(controller: Controller) -> None:
    """
    Ctrl-C while waiting says that the deletion goes on.
    """
    fill(controller)
    watched: list[bool] = []
    controller.script = [lambda: watched.append(True)]

    with started(controller, "delete", "smollm2", "--wait") as process:
        wait_for(lambda: watched)
        process.send_signal(signal.SIGINT)
        code, _, err = ended(process)

    assert 130 == code
    assert "Interrupted while deployments/smollm2 stops. It goes on by itself" in err


def test_a_terminal_of_another_encoding(controller: Controller) -> None:
    """
    What the terminal cannot show is escaped, and nothing fails.
    """
    controller.put(v1.Node(name="nodes/n", address="模型"))
    environ = {"MOTORPOOL_CONFIG": str(controller.client_file), "PYTHONIOENCODING": "ascii"}

    done = subprocess.run(
        [MOTORPOOL, "nodes"], env={**os.environ, **environ}, capture_output=True, check=False, timeout=60
    )

    assert (0, b"") == (done.returncode, done.stderr)
    assert rb"\u6a21\u578b" in done.stdout


def test_a_line_that_cannot_be_parsed_fails_in_the_format_it_asks_for(controller: Controller) -> None:
    """
    A program that asks for JSON or YAML gets its errors so, usage errors too.
    """
    for words in (("-o", "yaml"), ("--output=yaml",), ("-oyaml",)):
        with started(controller, "nodes", "--bogus", *words) as process:
            code, out, err = ended(process)
        assert (2, "") == (code, out)
        assert "COMMAND_LINE_INVALID" == yaml.safe_load(err)["error"]["reason"]


@pytest.mark.parametrize("command", ["adopt", "release"])
def test_what_is_done_to_an_instance_may_be_said_after_instances(command: str) -> None:
    """
    ``instances adopt`` is ``adopt``, options and help as well; ``instances`` alone lists.
    """
    line = ["instances", command, "--help"]
    said = subprocess.run([MOTORPOOL, *line], capture_output=True, text=True, check=True)
    alone = subprocess.run([MOTORPOOL, *line[1:]], capture_output=True, text=True, check=True)

    assert f"Usage: motorpool {command}" in said.stdout
    assert alone.stdout == said.stdout


def test_on_a_terminal_states_are_coloured(controller: Controller) -> None:
    """
    Where colours are wanted, a state has one; the words stay the same.
    """
    fill(controller)
    environ = {"MOTORPOOL_CONFIG": str(controller.client_file), "FORCE_COLOR": "1", "TERM": "xterm"}

    done = subprocess.run(
        [MOTORPOOL, "ps"], env={**os.environ, **environ}, capture_output=True, text=True, check=True, timeout=60
    )

    assert "\x1b[32mRUNNING\x1b[0m" in done.stdout


def test_an_interruption_that_is_swallowed_ends_the_command_all_the_same() -> None:
    """
    Ctrl-C that comes while a library runs a callback of its own is heard by nobody; the process ends with 130.
    """
    deaf = (
        "import time\n"
        "from motorpool_cli import main\n"
        "def app():\n"
        "    words = ['up']\n"
        "    while True:\n"
        "        try:\n"
        "            print(*words, flush=True)\n"
        "            time.sleep(60)\n"
        "        except KeyboardInterrupt:\n"
        "            words = ['heard']\n"
        "main.app = app\n"
        "main.main()\n"
    )
    with subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "up\n" == process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()

    assert ("heard\n", 130) == (rest, process.returncode)
