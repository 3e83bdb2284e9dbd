"""The policy's file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from motorpool_agent.policy import BackendRules, Policy, PolicyError, floor, read


def written(tmp_path: Path, text: str, mode: int = 0o644) -> Path:
    file = tmp_path / "policy.toml"
    file.write_text(text)
    file.chmod(mode)
    return file


def test_a_file_says_all_that_is_allowed(tmp_path: Path) -> None:
    """
    What it names is allowed, and of what it does not name there is nothing.
    """
    file = written(
        tmp_path,
        'roots = ["/srv/models"]\nremote_code = true\ndenied_options = ["--enable-lora"]\n'
        '[backends.tgi]\nexecutables = ["/opt/tgi/*"]\nimages = []\n',
    )

    assert read(file, required=True) == Policy(
        source=str(file),
        roots=("/srv/models",),
        executables=(),
        images=(),
        host_network=False,
        remote_code=True,
        denied_options=("--enable-lora",),
        devices=floor.DEVICES,
        backends={"tgi": BackendRules(executables=("/opt/tgi/*",), images=())},
    )


def test_without_a_file_the_floor_holds(tmp_path: Path) -> None:
    """
    A machine without a policy runs what its controller says, but for what no policy lets.
    """
    assert Policy() == read(tmp_path / "none.toml", required=False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("roots = [", "is no TOML"),
        ('rots = ["/srv"]', "did you mean roots?"),
        ('[backends.tgi]\nroots = ["/srv"]', "backends.tgi.roots"),
        ('roots = "/srv"', 'write roots = ["…"]'),
        ('roots = ["models"]', "give absolute paths"),
        ("images = [1]", "images is no list of texts"),
        ('host_network = "yes"', "host_network is neither true nor false"),
        ('backends = ["tgi"]', "write [backends.NAME]"),
        ('[backends]\ntgi = "x"', "write [backends.tgi]"),
        ("a = " + "[" * 4000, "is no TOML"),
    ],
)
def test_a_file_that_cannot_be_followed_is_told(tmp_path: Path, text: str, said: str) -> None:
    """
    The error names the file, the key and what to write.
    """
    file = written(tmp_path, text)

    with pytest.raises(PolicyError) as caught:
        read(file, required=True)

    assert str(file) in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_may_write_decides_nothing(tmp_path: Path, mode: int) -> None:
    """
    Whoever may write the policy is whoever may run anything.
    """
    with pytest.raises(PolicyError, match="may be written by others"):
        read(written(tmp_path, 'roots = ["/"]', mode), required=True)


def test_a_policy_that_was_named_has_to_be_there(tmp_path: Path) -> None:
    """
    A name that is mistyped opens nothing.
    """
    with pytest.raises(PolicyError, match="is not there"):
        read(tmp_path / "polcy.toml", required=True)


def test_only_a_file_is_a_policy(tmp_path: Path) -> None:
    """
    A folder, or a pipe that nobody writes into, is refused at once.
    """
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    for file in (tmp_path, pipe):
        with pytest.raises(PolicyError, match="no regular file"):
            read(file, required=False)
