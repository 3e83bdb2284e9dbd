"""The same model by the same command, in a container: it survives the same kills as a process does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from motorpool import v1
from motorpool_agent.runtime.docker.daemon import address
from motorpool_llama_cpp import launcher
from tests.docker_engine import DockerEngine
from tests.e2e.chat import Questioner, ask
from tests.e2e.fleet import Fleet, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="session", name="image")
def make_image(docker: DockerEngine, engines: Path) -> str:
    """
    An image of llama.cpp's server under llama-server's option names.
    """
    [package] = engines.glob("llama_cpp/*/lib/python*/site-packages/xllamacpp")
    return docker.python_image(Path(launcher.__file__), [package, *package.parent.glob("xllamacpp.libs")])


@pytest.fixture(name="fleet")
def make_fleet(tmp_path: Path, engines: Path, docker: DockerEngine) -> Iterator[Fleet]:
    """
    A controller that answers, and no agents yet; its containers are removed with it.
    """
    fleet = Fleet(tmp_path, engines)
    try:
        fleet.start_controller()
        yield fleet
    finally:
        fleet.close()
        for node in fleet.agents:
            docker.remove_all(tmp_path / node)


@pytest.mark.promise("P1")
@pytest.mark.timeout(300)
def test_answers_go_on_while_agent_and_controller_are_killed(
    fleet: Fleet, tiny_model: Path, image: str, docker: DockerEngine
) -> None:
    """
    At least a hundred streamed answers span the kill -9 of agent and controller; none fails, and it is one container.
    """
    agent = fleet.start_agent()
    fleet.command("motorpool", "deploy", "tiny", "--model", str(tiny_model), "--image", image, "--wait")
    before = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
    [container] = _containers(fleet, docker)

    with Questioner(fleet.credentials("tiny")) as questioner:
        for _ in range(2):
            questioner.wait_for_more(10, "before the kill")
            agent.kill()
            questioner.wait_for_more(20, "without an agent")
            agent = fleet.start_agent()
            adopted = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
            assert (before.pid, before.pid_start_ticks) == (adopted.pid, adopted.pid_start_ticks)

            assert fleet.controller is not None
            fleet.controller.kill()
            questioner.wait_for_more(20, "without a controller")
            fleet.start_controller()
            fleet.wait_ready()
        questioner.wait_for_more(100 - questioner.answers, "to make a hundred")

    after = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
    assert [] == questioner.failures
    assert [container] == _containers(fleet, docker)
    assert (before.pid, 0, True) == (after.pid, after.restart_count, after.adopted)


@pytest.mark.promise("P1")
@pytest.mark.parametrize("moment", ["assigned", "prepared", "created", "started", "running", "stopping"])
def test_an_agent_killed_at_any_moment_leaves_one_container_or_none(
    fleet: Fleet, tiny_model: Path, image: str, docker: DockerEngine, moment: str
) -> None:
    """
    Whenever the agent dies, its successor ends with exactly one container for an instance that is wished for, and with
    none for one that is not.
    """
    agent = fleet.start_agent()
    fleet.deploy("tiny", tiny_model, image=image)
    instances = fleet.folder / "a" / "instances"
    if moment in {"running", "stopping"}:
        fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
    if moment == "stopping":
        fleet.deployments.DeleteDeployment(v1.DeleteDeploymentRequest(name="deployments/tiny"))
    else:
        probes: dict[str, Callable[[], bool]] = {
            "assigned": lambda: any(fleet.instances("tiny")),
            "prepared": lambda: any(instances.glob("*/handle.json")),
            "created": lambda: bool(_containers(fleet, docker, running=False)),
            "started": lambda: bool(_containers(fleet, docker)),
            "running": lambda: True,
        }
        seen = probes[moment]
        deadline = time.monotonic() + 60
        while not seen():  # as quick as can be: the moment is short
            assert time.monotonic() < deadline
    containers = _containers(fleet, docker)
    agent.kill()

    fleet.start_agent()
    if moment == "stopping":
        wait_for(
            "the instance to be gone",
            lambda: not fleet.instances("tiny") and not _containers(fleet, docker, running=False),
        )
        return
    fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
    ask(fleet.credentials("tiny"))
    after = _containers(fleet, docker, running=False)
    assert 1 == len(after)
    if containers:
        assert containers == after


def test_one_option_makes_the_difference(fleet: Fleet, tiny_model: Path, image: str, docker: DockerEngine) -> None:
    """
    The same model runs as a process and in a container; describe, logs and delete are the same for both.
    """
    fleet.start_agent()
    for name, options in (("plain", []), ("boxed", ["--image", image])):
        command = ["motorpool", "deploy", name, "--model", str(tiny_model), "--memory", "1GiB", "--wait", *options]
        fleet.command(*command)
    launches = {name: fleet.instances(name)[0].launch for name in ("plain", "boxed")}
    answers = {name: ask(fleet.credentials(name)) for name in launches}
    logs = {
        name: fleet.command("motorpool", "logs", fleet.instances(name)[0].name, "--tail", "1000").stdout
        for name in launches
    }
    [container] = docker.containers(fleet.folder / "a")
    described = fleet.command("motorpool", "describe", fleet.instances("boxed")[0].name).stdout

    assert answers["plain"] == answers["boxed"]
    assert ("process", "docker", image) == (
        launches["plain"].executor,
        launches["boxed"].executor,
        launches["boxed"].image,
    )
    assert all("print_timing" in log for log in logs.values())
    assert {"docker", image} <= set(described.split())
    # A claim that was given is the limit; the model's folder is there at its own path, and cannot be written.
    assert 1 << 30 == container["HostConfig"]["Memory"]
    assert [(str(tiny_model.parent), False)] == [(one["Destination"], one["RW"]) for one in container["Mounts"]]
    for name in launches:
        fleet.delete(name)
    assert [] == docker.containers(fleet.folder / "a")


@pytest.mark.promise("P4")
def test_containers_go_where_an_engine_is(
    fleet: Fleet, tiny_model: Path, image: str, docker: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A node without a container engine is passed over, with a row on what to do there; it takes its part when an engine
    comes, and none when it has gone.
    """
    real = Path(address().removeprefix("unix://"))
    socket = fleet.folder / "docker.sock"
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("DOCKER_HOST", f"unix://{socket}")
        fleet.start_agent("a")
    fleet.start_agent("b")

    fleet.command("motorpool", "deploy", "tiny", "--model", str(tiny_model), "--image", image, "--wait")
    first = fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
    explained = fleet.command("motorpool", "explain", "tiny").stdout
    assert ["nodes/b"] == [member.node for member in first.placement.members]
    row = next(line for line in explained.splitlines() if "EXECUTOR_MISSING" in line)
    assert "There is no container engine on nodes/a: the Docker Engine does not answer at" in row
    assert "apt-get install docker.io" in row
    assert "docker does not work" in fleet.command("motorpool", "describe", "nodes/a").stdout

    socket.symlink_to(real)
    wait_for("an engine on nodes/a", lambda: "docker works" in fleet.command("motorpool", "describe", "nodes/a").stdout)
    fleet.command("motorpool", "cordon", "b")
    fleet.command("motorpool", "scale", "tiny", "--replicas", "2", "--wait")
    fleet.command("motorpool", "uncordon", "b")
    assert {"nodes/a", "nodes/b"} == {
        member.node for instance in fleet.instances("tiny") for member in instance.placement.members
    }
    assert 1 == len(docker.containers(fleet.folder / "a"))

    # What runs is kept while its engine does not answer, and nothing more comes.
    socket.unlink()
    wait_for(
        "no engine on nodes/a", lambda: "docker does not" in fleet.command("motorpool", "describe", "nodes/a").stdout
    )
    fleet.command("motorpool", "scale", "tiny", "--replicas", "3", "--wait")
    assert 2 == len(docker.containers(fleet.folder / "b"))
    assert {v1.INSTANCE_STATE_RUNNING} == {instance.state for instance in fleet.instances("tiny")}
    socket.symlink_to(real)
    fleet.command("motorpool", "scale", "tiny", "--replicas", "0", "--wait")
    assert [] == fleet.instances("tiny")
    fleet.delete("tiny")
    assert [] == docker.containers(fleet.folder / "a")


def _containers(fleet: Fleet, docker: DockerEngine, *, running: bool = True) -> list[str]:
    """
    Return the ids of the node's containers.
    """
    found = docker.containers(fleet.folder / "a")
    return [one["Id"] for one in found if one["State"]["Running"] or not running]


def test_a_container_that_takes_more_than_it_claims_is_told(fleet: Fleet, tiny_model: Path, image: str) -> None:
    """
    llama.cpp whose context needs more host memory than was claimed is killed by the kernel; deploy says so, and where.
    """
    fleet.start_agent()
    arguments = ("--", "--ctx-size", "1000000", "--parallel", "1", "--no-warmup")
    done = fleet.command(
        *("motorpool", "deploy", "tiny", "--model", str(tiny_model), "--image", image, "--memory", "64MiB", "--wait"),
        *arguments,
        check=False,
    )

    assert 1 == done.returncode
    assert "at its limit of 64 MiB of host memory; claim more with --memory" in done.stderr
    assert "[OUT_OF_MEMORY]" in done.stderr


def test_an_image_that_cannot_be_had_is_told(fleet: Fleet, tiny_model: Path) -> None:
    """
    An image of a registry that is not there is named, with the engine's own word and how to bring it.
    """
    fleet.start_agent()
    nowhere = "127.0.0.1:9/nobody/engine:1"
    done = fleet.command(
        *("motorpool", "deploy", "tiny", "--model", str(tiny_model), "--image", nowhere, "--wait"), check=False
    )

    assert 1 == done.returncode
    assert "[IMAGE_PULL_FAILED]" in done.stderr
    assert f"{nowhere} could not be pulled: " in done.stderr
    assert f"`docker pull {nowhere}` on the node shows the same" in done.stderr
