"""A backend without a plugin: a plain HTTP server, declared in a YAML file, serves a file as its model."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from motorpool import v1
from tests.docker_engine import DockerEngine
from tests.e2e.fleet import Fleet, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

EXAMPLE = Path(__file__).parents[2] / "examples" / "backends"
QUESTION = {"messages": [{"role": "user", "content": "What is the capital of France?"}]}
ANSWER = "The capital of France is Paris."


@dataclass(frozen=True, slots=True)
class Phrasebook:
    """The example, where this machine has it, and a fleet to declare it to."""

    fleet: Fleet
    declaration: str

    def motorpool(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.fleet.command("motorpool", *words, check=check)

    def apply(self, **changes: str) -> str:
        """Apply the example's declaration with some of its text changed; return what that said."""
        text = self.declaration
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        file = self.fleet.folder / "phrasebook.yaml"
        file.write_text(text)
        return self.motorpool("backends", "apply", "-f", str(file)).stdout

    def deploy(self, name: str, *options: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        model = str(EXAMPLE / "phrasebook.txt")
        line = ["deploy", name, "--backend", "phrasebook", "--model", model, "--wait", "--timeout", "60s"]
        return self.motorpool(*line, *options, check=check)

    def answer(self, name: str) -> str:
        """Ask a deployment as its users do, with its key and by its name; return what it says."""
        credentials = self.fleet.credentials(name)
        [endpoint] = credentials.endpoints
        sent = httpx.post(
            f"{endpoint}/v1/chat/completions",
            json={"model": credentials.served_model_name, **QUESTION},
            headers={"authorization": f"Bearer {credentials.api_key}"},
            timeout=10,
        )
        assert 401 == httpx.post(f"{endpoint}/v1/chat/completions", json=QUESTION, timeout=10).status_code
        said: str = sent.raise_for_status().json()["choices"][0]["message"]["content"]
        assert credentials.served_model_name == sent.json()["model"]
        return said

    def running(self, name: str) -> v1.Instance:
        return self.fleet.wait_state(name, v1.INSTANCE_STATE_RUNNING)

    def kill_agent(self, name: str) -> v1.Instance:
        """Kill the node's agent; return a deployment's instance as the agent's successor adopted it."""
        self.fleet.agents["a"].kill()
        self.fleet.start_agent()
        return wait_for(f"{name} to be adopted", lambda: next(filter(_adopted, self.fleet.instances(name)), None))


def _adopted(instance: v1.Instance) -> bool:
    return instance.adopted and instance.state == v1.INSTANCE_STATE_RUNNING


@pytest.fixture(name="example")
def make_example(tmp_path: Path) -> Iterator[Phrasebook]:
    """
    A controller and one agent, to which nothing is declared yet. No engine is installed: none is needed.
    """
    (tmp_path / "engines").mkdir()
    fleet = Fleet(tmp_path, tmp_path / "engines")
    try:
        fleet.start_controller()
        fleet.start_agent()
        text = (EXAMPLE / "phrasebook.yaml").read_text(encoding="utf-8")
        yield Phrasebook(fleet, text.replace("/opt/phrasebook/", f"{EXAMPLE}/"))
    finally:
        fleet.close()


@pytest.fixture(scope="session", name="image")
def make_image(docker: DockerEngine) -> str:
    """
    An image whose entrypoint is the example's server.
    """
    return docker.python_image(EXAMPLE / "phrasebook.py")


@pytest.mark.promise("P1")
def test_a_declared_process_answers_and_survives_its_agent(example: Phrasebook) -> None:
    """
    Declared, deployed, asked: with a variable of the deployment in its command, and a key that it checks. It is the
    same process after the kill -9 of its agent.
    """
    said = example.apply()
    example.deploy("phrases", "--env", "GREETING=Bonjour! It's this: ")
    before = example.running("phrases")
    answered = example.answer("phrases")
    after = example.kill_agent("phrases")

    assert "backends/phrasebook is declared: 1.0, 1.0-image\n" == said
    assert f"Bonjour! It's this: {ANSWER}" == answered
    assert answered == example.answer("phrases")
    assert ("process", "python3") == (before.launch.executor, before.launch.argv[0])
    assert "***" == before.launch.env["PHRASEBOOK_API_KEY"]
    assert (before.pid, before.pid_start_ticks, 0) == (after.pid, after.pid_start_ticks, after.restart_count)
    example.fleet.delete("phrases")
    assert "backends/phrasebook is forgotten\n" == example.motorpool("backends", "delete", "phrasebook").stdout


@pytest.mark.promise("P1")
@pytest.mark.parametrize("way", ["version", "option"])
def test_a_declared_container_answers_and_survives_its_agent(
    example: Phrasebook, image: str, docker: DockerEngine, way: str
) -> None:
    """
    The version with an image, or the process's version in the deployment's image: one container, the same after the
    kill -9 of its agent, and none once it was deleted.
    """
    data_dir = example.fleet.folder / "a"
    changes = {"image: phrasebook:1.0": f"image: {image}"}
    options = ["--backend-version", "1.0-image"]
    if way == "option":
        # The process's program and script, at their places in the image.
        [program, script] = docker.client.inspect_image(image)["Config"]["Entrypoint"]
        changes |= {f"python3 {EXAMPLE}/phrasebook.py": f"{program} {script}"}
        options = ["--image", image]
    try:
        example.apply(**changes)
        example.deploy("phrases", *options)
        before = example.running("phrases")
        [container] = docker.containers(data_dir)
        answered = example.answer("phrases")
        after = example.kill_agent("phrases")

        assert (ANSWER, ANSWER) == (answered, example.answer("phrases"))
        assert ("docker", image) == (before.launch.executor, before.launch.image)
        assert [container["Id"]] == [one["Id"] for one in docker.containers(data_dir)]
        assert (before.pid, 0) == (after.pid, after.restart_count)
        example.fleet.delete("phrases")
        assert [] == docker.containers(data_dir)
    finally:
        docker.remove_all(data_dir)


def test_an_engine_with_a_port_of_its_own_is_reached(example: Phrasebook, image: str, docker: DockerEngine) -> None:
    """
    An image that listens where it likes is published on the instance's port.
    """
    try:
        own = f"image: {image}\n    container_port: 8080"
        example.apply(**{"image: phrasebook:1.0": own, '--port, "{{port}}"': '--port, "8080"'})
        example.deploy("phrases", "--backend-version", "1.0-image")

        assert ANSWER == example.answer("phrases")
        assert "8080" in example.running("phrases").launch.argv
    finally:
        docker.remove_all(example.fleet.folder / "a")


def test_a_changed_declaration_leaves_running_instances_alone(example: Phrasebook) -> None:
    """
    They keep their process and their answers, also over a restart of controller and agent; what is deployed afterwards
    is launched as declared then.
    """
    example.apply()
    example.deploy("old")
    before = example.running("old")

    said = example.apply(**{'GREETING: ""': 'GREETING: "New: "'})
    example.deploy("new")
    fleet = example.fleet
    assert fleet.controller is not None
    fleet.controller.kill()
    fleet.start_controller()
    after = example.kill_agent("old")

    assert "instances that stand keep what they were launched with" in said
    assert (ANSWER, f"New: {ANSWER}") == (example.answer("old"), example.answer("new"))
    assert (before.uid, before.pid, 0) == (after.uid, after.pid, after.restart_count)
    refused = example.motorpool("backends", "delete", "phrasebook", check=False)
    assert 6 == refused.returncode
    assert "deployments/new, deployments/old" in refused.stderr


def test_what_is_missing_is_told(example: Phrasebook) -> None:
    """
    A claim, a variable, a program that is not there: each in a sentence that says what to do. A claim that is declared
    later places what waited for it.
    """
    without = example.declaration.replace("claim:\n", "# claim:\n").replace("  memory_bytes: 64MiB", "# memory_bytes")
    file = example.fleet.folder / "phrasebook.yaml"
    file.write_text(without)
    example.motorpool("backends", "apply", "-f", str(file))
    unclaimed = example.deploy("unclaimed", check=False)
    claimed = example.deploy("claimed", "--memory", "32MiB")
    example.apply()
    example.running("unclaimed")

    example.apply(**{'GREETING: ""': 'OTHER: ""', "python3 ": "python-that-is-not-there "})
    unset = example.deploy("unset", "--backend-version", "1.0", check=False)
    absent = example.deploy("absent", "--backend-version", "1.0", "--env", "GREETING=Hi", check=False)

    assert (1, 0, 7, 1) == (unclaimed.returncode, claimed.returncode, unset.returncode, absent.returncode)
    assert "CLAIM_MISSING" in unclaimed.stderr
    assert "deploy it with --memory 2GiB" in unclaimed.stderr
    assert "--env GREETING=VALUE" in unset.stderr
    assert "python-that-is-not-there" in absent.stderr
