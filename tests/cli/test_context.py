import os
import subprocess
import sys
from pathlib import Path

import pytest

from motorpool import v1
from motorpool_cli.logins import Login, Logins, write
from tests.cli.controller import TOKEN, Controller
from tests.cli.fleet import fill

MOTORPOOL = Path(sys.executable).parent / "motorpool"


def completed(line: str, controller: Controller, **environ: str) -> list[str]:
    done = subprocess.run(
        [MOTORPOOL],
        env={
            **os.environ,
            "MOTORPOOL_CONFIG": str(controller.client_file),
            **environ,
            "_MOTORPOOL_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "" == done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("motorpool explain ", ["smollm2"]),
        ("motorpool delete smo", ["smollm2"]),
        ("motorpool logs ", ["smollm2-x7k2p"]),
        ("motorpool cordon r", ["rack1"]),
        ("motorpool describe ", ["rack1", "smollm2", "smollm2-x7k2p"]),
        ("motorpool ps --deployment s", ["smollm2"]),
        ("motorpool model inspect ", ["/models/smollm2.gguf", "hf:", "ms:"]),
        ("motorpool model inspect /m --node r", ["rack1"]),
        ("motorpool backends describe l", ["llama_cpp"]),
        ("motorpool backends delete ", ["echo"]),
        ("motorpool deploy x --backend ", ["echo", "llama_cpp"]),
        ("motorpool explain nobody", []),
        ("motorpool deplo", ["deploy", "deployments"]),
        ("motorpool deploy x --strategy b", ["binpack"]),
    ],
)
def test_names_are_completed(controller: Controller, line: str, names: list[str]) -> None:
    """
    The shell is offered the names that there are.
    """
    fill(controller)
    controller.backends.append(v1.Backend(name="backends/echo", declaration=v1.BackendDeclaration()))

    assert names == completed(line, controller)


def test_options_before_the_command_count(controller: Controller) -> None:
    """
    Completion asks the controller that the line itself names.
    """
    fill(controller)
    line = f"motorpool --config {controller.client_file} explain "

    assert ["smollm2"] == completed(line, controller, MOTORPOOL_CONFIG="")


def test_contexts_are_completed(controller: Controller, tmp_path: Path) -> None:
    """
    A context's name is offered, and names of the cluster of a context that stands on the line.
    """
    fill(controller)
    lab = Login(server=controller.address, cluster_id="c", token=TOKEN, ca_pem=controller.ca_file.read_text())
    write(Logins().with_login("lab", lab), {"XDG_CONFIG_HOME": str(tmp_path / "config")})

    assert ["lab"] == completed("motorpool --context l", controller)
    assert ["lab"] == completed("motorpool use ", controller)
    assert ["smollm2"] == completed("motorpool --context lab explain ", controller, MOTORPOOL_CONFIG="/nowhere.toml")


def test_completion_never_fails(controller: Controller) -> None:
    """
    Without a controller nothing is offered, and nothing is printed in the middle of a line.
    """
    assert [] == completed("motorpool explain ", controller, MOTORPOOL_CONFIG="/nowhere/client.toml")
    assert [] == completed("motorpool explain ", controller, MOTORPOOL_TOKEN="wrong")
