from dataclasses import replace
from typing import Any

import pytest

from motorpool_controller.domain.declaration_faults import declaration_faults, name_faults
from motorpool_controller.domain.declarations import Declaration
from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.domain.faults import MOST_BYTES, refuse
from motorpool_controller.domain.fleet import Option
from tests.controller.declared import declaration, version

V = "declaration.versions[0]"


def faults(made: Declaration, name: str = "echo") -> dict[str, str]:
    found: dict[str, str] = {}
    for field, message in declaration_faults(name, made):
        found[field] = f"{found[field]}; {message}" if field in found else message
    return found


def of_version(**changes: Any) -> dict[str, str]:
    return faults(declaration(versions=(version(**changes),)))


def test_a_plain_declaration_has_none() -> None:
    """
    A command, an image, or both in different versions.
    """
    made = declaration(
        versions=(
            version(),
            version(version="2", image="echo:2", entrypoint=("/e",), container_port=8080, command=("{{GREETING}}",)),
            version(
                version="3",
                env={"A": "{{port}} {{model_name}}", "B": "b"},
                command=("sh", "-c", 'srv "$1"', "sh", "{{B}}"),
            ),
        ),
        options=(Option(name="port", aliases=("p",), system_owned=True),),
        categories=("llm",),
        api_key_env="ECHO_KEY",
        formats=("safetensors",),
    )

    assert {} == faults(made)


@pytest.mark.parametrize("name", ["", "Echo", "1echo", "a" * 64, "echo-", "a/b", "a b", "é"])
def test_names(name: str) -> None:
    """
    A name is one word of lower-case letters, digits, dashes and underscores.
    """
    assert {"name"} == set(faults(declaration(), name))


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"versions": ()}, "declaration.versions", "at least one"),
        ({"versions": (version(), version())}, "declaration.versions[1].version", "twice"),
        ({"description": "x" * 3000}, "declaration.description", "shorten"),
        ({"aliases": ("a b",)}, "declaration.aliases", "letters"),
        ({"aliases": ("a", "a")}, "declaration.aliases", "twice"),
        ({"formats": ("",)}, "declaration.formats", "letters"),
        ({"categories": ("poetry",)}, "declaration.categories", "llm, embedding"),
        ({"health_path": "health"}, "declaration.health_path", "begin with /"),
        ({"metrics_path": "/a b"}, "declaration.metrics_path", "begin with /"),
        ({"start_timeout_seconds": 0.0}, "declaration.start_timeout", "above 0"),
        ({"stop_grace_seconds": 1e9}, "declaration.stop_grace", "at most a week"),
        ({"stop_grace_seconds": float("nan")}, "declaration.stop_grace", "above 0"),
        ({"api_key_env": "LD_PRELOAD"}, "declaration.api_key_env", "which code"),
        ({"api_key_env": "A-B"}, "declaration.api_key_env", "no name of a variable"),
        ({"options": (Option(name="--port"),)}, "declaration.options", "without leading dashes"),
        ({"options": (Option(name="a"), Option(name="b", aliases=("a",)))}, "declaration.options", "twice"),
        ({"claim_memory_bytes": 0}, "declaration.claim.memory_bytes", "positive"),
        ({"claim_device_memory_bytes": -1}, "declaration.claim.device_memory_bytes", "positive"),
    ],
)
def test_what_holds_for_all_versions(changes: dict[str, Any], field: str, said: str) -> None:
    """
    Each fault names its field, what is wrong and what to write instead.
    """
    found = faults(declaration(**changes))

    assert [field] == list(found)
    assert said in found[field]


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"version": "1 0"}, "version", "letters"),
        ({"version": ""}, "version", "it is missing"),
        ({"command": ("/x", "--model", "{{model_path}}")}, "command", "put {{port}} there, or into env"),
        ({"command": (), "image": "e:1"}, "command", "or give container_port"),
        ({"command": ()}, "command", "say what to run"),
        ({"command": ("", "x")}, "command[0]", "names no program"),
        ({"command": ("{{PROGRAM}}",)}, "command[0]", "whoever deploys chooses"),
        ({"command": ("/x", "{{")}, "command[1]", "begins no variable"),
        ({"command": ("/x", "a\0b")}, "command[1]", "NUL"),
        ({"command": ("/x",) * 2000}, "command", "is the most"),
        ({"command": ("bash", "-ec", "serve {{model_path}}")}, "command[2]", "shell"),
        ({"command": ("timeout", "9", "/bin/sh", "-c", "x {{A}}"), "env": {"A": ""}}, "command[4]", "shell"),
        ({"command": ("/x", "{{modelpath}}")}, "command", "{{model_path}}"),
        ({"command": ("/x", "{{LD_PRELOAD}}")}, "command", "no deployment"),
        ({"command": ("/x", "{{CUDA_VISIBLE_DEVICES}}")}, "command", "no deployment"),
        ({"command": ("/x", "{{A}}"), "env": {"A": "{{port}}"}}, "command", "template itself"),
        ({"entrypoint": ("/e",)}, "entrypoint", "no image"),
        ({"container_port": 80}, "container_port", "for images"),
        ({"packages": ("timm==1.0.25",)}, "packages", "there is none; install them on the nodes"),
        ({"image": "e:1", "packages": ("git+https://x",)}, "packages", "no package"),
        ({"image": "a b"}, "image", "no reference"),
        ({"image": "e:1", "container_port": 70000}, "container_port", "65535"),
        ({"image": "e:1", "entrypoint": ("{{E}}",)}, "entrypoint[0]", "whoever deploys chooses"),
        ({"env": {"PATH": "/x"}}, "env", "which code"),
        ({"env": {"MOTORPOOL_X": "1"}}, "env", "belongs to Motorpool"),
        ({"env": {"HIP_VISIBLE_DEVICES": "0"}}, "env", "placement decides"),
        ({"env": {"A=B": "1"}}, "env", "no name of a variable"),
        ({"env": {"port": "1"}}, "env", "choose another name"),
        ({"env": {"A": "{{ }}"}}, "env", "begins no variable"),
        ({"env": {"A": "\0"}}, "env", "NUL"),
        ({"frameworks": ("c pu",)}, "frameworks", "letters"),
        ({"architectures": ("x86_64",)}, "architectures", "write amd64"),
        ({"operating_systems": ("linux", "linux")}, "operating_systems", "twice"),
        ({"health_path": "up"}, "health_path", "begin with /"),
        ({"start_timeout_seconds": -1.0}, "start_timeout", "above 0"),
    ],
)
def test_what_a_version_may_say(changes: dict[str, Any], field: str, said: str) -> None:
    """
    As above, with the version's place.
    """
    found = of_version(**changes)

    assert f"{V}.{field}" in found
    assert said in found[f"{V}.{field}"]


def test_an_image_needs_a_path_to_ask() -> None:
    """
    The version's own or the backend's will do.
    """
    boxed = version(image="e:1")

    assert [f"{V}.health_path"] == list(faults(declaration(versions=(boxed,), health_path="")))
    assert {} == faults(declaration(versions=(replace(boxed, health_path="/up"),), health_path=""))


@pytest.mark.parametrize(
    "changes",
    [
        {"command": ("/x",), "env": {"LISTEN": "{{node_ip}}:{{port}}"}},
        {"command": (), "image": "e:1", "container_port": 80},
        {"command": (), "image": "e:1", "entrypoint": ("/e", "{{port}}")},
    ],
)
def test_an_engine_may_be_told_its_port_in_any_place(changes: dict[str, Any]) -> None:
    """
    Or not at all, in a container whose port is known.
    """
    assert {} == of_version(**changes)


def test_a_misspelt_port_is_one_fault() -> None:
    """
    That nothing tells the port would be the same again.
    """
    found = list(declaration_faults("echo", declaration(versions=(version(command=("/x", "{{prot}}")),))))

    assert [(f"{V}.command", "{{prot}} is not known, and much like {{port}}; correct it, or rename it")] == found


def test_the_keys_variable_is_not_set_twice() -> None:
    """
    What gets the API key is nobody's to set.
    """
    made = declaration(versions=(version(env={"KEY": "1"}),), api_key_env="KEY")

    assert "api_key_env" in faults(made)[f"{V}.env"]


def test_names_of_others() -> None:
    """
    Names and aliases are compared as names are, and their owner is told.
    """
    taken = {"llama_cpp": "a name of llama_cpp, which the plugin of nodes/a serves", "parrot": "somebody's"}

    found = dict(name_faults("llama-cpp", declaration(), taken))

    assert ["name", "declaration.aliases"] == list(found)
    assert "nodes/a" in found["name"]


def test_all_faults_are_told_at_once_as_far_as_they_fit() -> None:
    """
    Each with its field, for people in the message and for machines beside it; of very many, the first.
    """
    made = declaration(versions=tuple(version(version=str(index), command=()) for index in range(30)))

    with pytest.raises(InvalidError) as caught:
        refuse(declaration_faults("Echo", made))

    error = caught.value
    *told, (field, rest) = error.violations
    assert sum(len(text.encode()) for fault in told for text in fault) <= MOST_BYTES
    assert "name: “Echo”" in error.message
    assert "declaration.versions[3].command: " in error.message
    assert ("", f"and {31 - len(told)} more, told when these are mended") == (field, rest)
    assert "name" == error.metadata["field"]


def test_no_fault_raises_nothing() -> None:
    """
    What is right passes.
    """
    refuse([])
