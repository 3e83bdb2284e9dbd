"""What wrong input gets: one paragraph that names what, where and what to do, a reason, and a non-zero exit."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from motorpool import v1
from tests.e2e.fleet import Fleet, free_port, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_a_missing_model_file_is_named_with_its_node(fleet: Fleet, tmp_path: Path) -> None:
    """
    A path that is on no node leaves the instance pending with a row that names path and node; the exit code is 1.
    """
    fleet.start_agent()
    path = tmp_path / "absent.gguf"

    done = fleet.command("motorpool", "deploy", "absent", "--model", str(path), "--wait", check=False)

    assert 1 == done.returncode
    assert str(path) in done.stderr
    assert "nodes/a" in done.stderr
    assert "MODEL_NOT_FOUND" in done.stderr
    fleet.delete("absent")


def test_a_broken_model_file_is_refused_with_what_is_wrong(fleet: Fleet, tmp_path: Path) -> None:
    """
    A file that is no model leaves the instance pending, and says so.
    """
    fleet.start_agent()
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF\x03\x00\x00\x00" + b"\xff" * 64)

    done = fleet.command("motorpool", "deploy", "broken", "--model", str(path), "--wait", check=False)

    assert 1 == done.returncode
    assert "MODEL_CORRUPT" in done.stderr
    assert not (fleet.folder / "a" / "instances").exists() or not any((fleet.folder / "a" / "instances").iterdir())


def test_a_model_larger_than_the_machine_says_what_is_needed_and_there(fleet: Fleet, tiny_model: Path) -> None:
    """
    What fits nowhere stays pending with needed and available bytes, and becomes an exit code of 1 under --wait.
    """
    fleet.start_agent()

    done = fleet.command(
        "motorpool", "deploy", "huge", "--model", str(tiny_model), "--memory", "4TiB", "--wait", check=False
    )

    assert 1 == done.returncode
    assert "4,096.00 GiB of host memory is needed on nodes/a" in done.stderr
    (instance,) = fleet.instances("huge")
    assert v1.INSTANCE_STATE_PENDING == instance.state
    assert any(refusal.needed == 4 * 2**40 and refusal.available > 0 for refusal in instance.refusals)


def test_an_unknown_backend_is_refused_with_those_that_there_are(fleet: Fleet, tiny_model: Path) -> None:
    """
    A backend that no node offers fails the call, and the error lists the known ones.
    """
    fleet.start_agent()

    done = fleet.command(
        "motorpool", "deploy", "tiny", "--model", str(tiny_model), "--backend", "telepathy", check=False
    )

    assert 7 == done.returncode
    assert "BACKEND_UNKNOWN" in done.stderr
    assert "llama_cpp" in done.stderr
    assert [] == fleet.instances("tiny")


def test_parameters_that_the_system_owns_are_refused(fleet: Fleet, tiny_model: Path) -> None:
    """
    A user who sets the port is told that it is not theirs to set.
    """
    fleet.start_agent()

    done = fleet.command("motorpool", "deploy", "tiny", "--model", str(tiny_model), "--", "--port", "80", check=False)

    assert 7 == done.returncode
    assert "PARAMETER_INVALID" in done.stderr
    assert "port" in done.stderr


@pytest.mark.promise("P6")
@pytest.mark.parametrize("name", ["LD_PRELOAD", "CUDA_VISIBLE_DEVICES", "MOTORPOOL_TOKEN"])
def test_variables_that_the_system_owns_are_refused(fleet: Fleet, tiny_model: Path, name: str) -> None:
    """
    A variable that no deployment may set fails the call, is named, and nothing is created; its value is not repeated.
    """
    done = fleet.command(
        "motorpool", "deploy", "tiny", "--model", str(tiny_model), "--env", f"{name}=hidden", check=False
    )

    assert 7 == done.returncode
    assert "FIELD_INVALID" in done.stderr
    assert f"spec.env: {name} cannot be set:" in done.stderr
    assert "hidden" not in done.stderr
    assert [] == fleet.instances("tiny")


@pytest.mark.parametrize(
    ("kind", "reason"), [("wrong", "TOKEN_INVALID"), ("used", "TOKEN_USED_UP"), ("expired", "TOKEN_EXPIRED")]
)
def test_a_bad_join_token_ends_the_agent_with_what_to_do(fleet: Fleet, kind: str, reason: str) -> None:
    """
    A wrong, used-up or expired token ends the agent with the reason and the command that makes another one.
    """
    token = fleet.join_token(*(("--ttl", "1s") if kind == "expired" else ()))
    made = time.monotonic()
    if kind == "used":
        fleet.start_agent("first", token=token)
    if kind == "wrong":
        head, middle, secret, fingerprint = token.split("_")
        token = "_".join((head, middle, "A" * len(secret), fingerprint))
    if kind == "expired":
        wait_for("the token's second to be over", lambda: time.monotonic() > made + 1.5)

    done = fleet.command("motorpool-agent", "enroll", *fleet.enroll_options("second"), "--token", token, check=False)

    assert 4 == done.returncode
    assert reason in done.stderr
    assert "motorpool-controller token join" in done.stderr


def test_a_taken_node_name_is_refused(fleet: Fleet) -> None:
    """
    A second machine cannot enrol under the first one's name, and its token stays unused.
    """
    fleet.start_agent("a")
    token = fleet.join_token()
    options = fleet.enroll_options("b")
    options[options.index("--node-name") + 1] = "a"

    done = fleet.command("motorpool-agent", "enroll", *options, "--token", token, check=False)

    assert 4 == done.returncode
    assert "NODE_NAME_TAKEN" in done.stderr
    fleet.start_agent("b", token=token)


def test_an_unreachable_controller_is_named(fleet: Fleet) -> None:
    """
    With nobody at the address, the command says which address, and exits with 3.
    """
    server = f"127.0.0.1:{free_port()}"

    done = fleet.command("motorpool", "--server", server, "nodes", check=False)

    assert 3 == done.returncode
    assert server in done.stderr
    assert "motorpool-controller run" in done.stderr
    assert "Traceback" not in done.stderr
