"""Where files lie, whatever their paths say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from motorpool_agent.policy import BackendRules, DeniedError, Policy
from motorpool_agent.policy.images import check_image
from motorpool_agent.policy.places import check_device, check_place, check_program

pytestmark = pytest.mark.promise("P6")


@pytest.fixture(name="roots")
def _roots(tmp_path: Path) -> Path:
    roots = tmp_path / "models"
    roots.mkdir()
    (roots / "m.gguf").touch()
    (tmp_path / "secret").touch()
    return roots


def denied(policy: Policy, path: Path | str) -> str:
    with pytest.raises(DeniedError) as caught:
        check_place(policy, Path(path), "the model")
    return caught.value.message


def test_what_lies_below_a_root_is_read(roots: Path) -> None:
    """
    A file, the folder itself, a link within it.
    """
    policy = Policy(roots=(str(roots),))
    (roots / "link").symlink_to("m.gguf")

    for path in (roots, roots / "m.gguf", roots / "link", roots / "sub" / ".." / "m.gguf"):
        check_place(policy, path, "the model")


@pytest.mark.parametrize("way", ["../secret", "m.gguf/../../secret", "out/secret", "chain", "absolute", "loop"])
def test_no_way_leads_out_of_a_root(roots: Path, way: str) -> None:
    """
    Dots, a link to a folder, a link to a link, an absolute link: it counts where they lead.
    """
    (roots / "out").symlink_to("..")
    (roots / "chain").symlink_to("chained")
    (roots / "chained").symlink_to(roots.parent / "secret")
    (roots / "absolute").symlink_to("/etc/passwd")
    (roots / "loop").symlink_to(roots.parent / "loop")
    (roots.parent / "loop").symlink_to(roots.parent / "loop2")
    (roots.parent / "loop2").symlink_to(roots.parent / "loop")

    assert "is outside the folders" in denied(Policy(roots=(str(roots),)), roots / way)


def test_a_name_that_begins_like_a_root_is_not_in_it(roots: Path) -> None:
    """
    ``/models-other`` is not below ``/models``.
    """
    other = roots.with_name("models-other")
    other.mkdir()

    message = denied(Policy(source="/etc/motorpool/policy.toml", roots=(str(roots),)), other)

    assert f"allow it in /etc/motorpool/policy.toml: roots = ['{other}', …]" in message


@pytest.mark.parametrize(
    "path", ["/etc/shadow", "/proc/self/environ", "/proc/1/environ", "/dev/mem", "/run/x", "/var/run/x"]
)
def test_the_machines_own_folders_are_no_models(path: str) -> None:
    """
    Also where every folder is a root.
    """
    assert "is outside" in denied(Policy(), path)


def test_a_root_within_a_protected_folder_is_one() -> None:
    """
    An operator who names it means it.
    """
    check_place(Policy(roots=("/run/models",)), Path("/run/models/m.gguf"), "the model")


def test_folders_of_keys_are_given_to_nobody(roots: Path) -> None:
    """
    Even below a root.
    """
    assert ".ssh" in denied(Policy(roots=(str(roots),)), roots / "user" / ".ssh" / "id_rsa")


def test_programs_count_by_where_they_lead(tmp_path: Path) -> None:
    """
    A link in an allowed folder to a program elsewhere is that program.
    """
    policy = Policy(executables=(), backends={"tgi": BackendRules(executables=(f"{tmp_path}/bin/*",))})
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "tgi").touch()
    (folder / "shell").symlink_to("/bin/sh")

    check_program(policy, str(folder / "tgi"), "tgi")
    for program, backend in ((folder / "shell", "tgi"), (folder / ".." / "x", "tgi"), (folder / "tgi", "other")):
        with pytest.raises(DeniedError, match="program"):
            check_program(policy, str(program), backend)


def test_a_link_to_an_allowed_program_is_that_program(tmp_path: Path) -> None:
    """
    Both the policy's name and the launch's may be links to one file.
    """
    (tmp_path / "sh").symlink_to("/bin/sh")

    check_program(Policy(executables=("/bin/sh",)), str(tmp_path / "sh"), "tgi")


def test_an_engines_own_interpreter_may_lead_elsewhere(tmp_path: Path) -> None:
    """
    A virtual environment's python is a link to the machine's; a link out of the folder on the way to it is not.
    """
    engines = tmp_path / "engines"
    (engines / "vllm" / "bin").mkdir(parents=True)
    (engines / "vllm" / "bin" / "python").symlink_to("/bin/sh")
    (engines / "out").symlink_to("/bin")

    check_program(Policy(executables=()), str(engines / "vllm" / "bin" / "python"), "vllm", (engines,))
    for path in (engines / "out" / "sh", engines / ".." / "x"):
        with pytest.raises(DeniedError):
            check_program(Policy(executables=()), str(path), "vllm", (engines,))


def test_device_nodes_count_by_where_they_lead(tmp_path: Path) -> None:
    """
    A link named like a card is what it leads to.
    """
    card = tmp_path / "card0"
    card.touch()
    (tmp_path / "card1").symlink_to("/dev/mem")
    policy = Policy(devices=(f"{tmp_path}/card*",))

    check_device(policy, str(card))
    for node in (tmp_path / "card1", "/dev/mem", "/dev/sda", os.devnull):
        with pytest.raises(DeniedError, match="device node"):
            check_device(policy, str(node))


def test_images_are_named_by_pattern() -> None:
    """
    A backend's own list stands in for the one that all have; a host's network is said in words of its own.
    """
    policy = Policy(images=("acme/*",), host_network=False, backends={"vllm": BackendRules(images=("vllm/vllm:v1",))})

    check_image(policy, "acme/tgi:1", "tgi")
    check_image(policy, "vllm/vllm:v1", "vllm")
    for image, backend in (("evil/acme/x", "tgi"), ("acme/tgi:1", "vllm"), ("vllm/vllm:v1", "tgi")):
        with pytest.raises(DeniedError, match="image"):
            check_image(policy, image, backend)
    with pytest.raises(DeniedError, match="host_network = true"):
        check_image(policy, "acme/tgi:1", "tgi", host_network=True)
