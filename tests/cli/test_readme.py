import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from motorpool_cli import settings
from motorpool_cli.failures import Exit
from motorpool_cli.main import app

README = (Path(__file__).parents[2] / "cli" / "README.md").read_text()
SECTIONS = {
    command.strip(): body
    for heads, body in re.findall(r"^### (.+)\n((?:(?!#).*\n)*)", README, re.MULTILINE)
    for command in heads.split(",")
}


def commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            if command.invoke_without_command:
                yield f"{prefix}{name}", command
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


ROOT: Any = typer.main.get_command(app)
COMMANDS = dict(commands(ROOT))
VISIBLE = {name for name, command in COMMANDS.items() if not command.hidden}


def test_every_command_has_a_heading() -> None:
    """
    The README's headings are the commands, no more and no fewer.
    """
    assert VISIBLE == set(SECTIONS)


@pytest.mark.parametrize("name", sorted(VISIBLE))
def test_every_option_is_told(name: str) -> None:
    """
    Each option of a command stands under its heading, short names too.
    """
    shared = {"--help", "-h", "--output", "-o"}
    told = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", SECTIONS[name]))
    options = {
        word for parameter in COMMANDS[name].params if parameter.param_type_name == "option" for word in parameter.opts
    }

    assert set() == options - shared - told
    if name != "logs":
        assert {"--output", "-o"} <= options


def test_no_other_option_is_told() -> None:
    """
    What the README tells of options exists.
    """
    told = set(re.findall(r"`(--?[a-z][a-z-]*)", README))
    every = {word for command in [ROOT, *COMMANDS.values()] for parameter in command.params for word in parameter.opts}

    assert set() == told - every - {"--help", "-h"}


def test_every_shared_option_is_told() -> None:
    """
    The options before the command stand in the README with variable and key.
    """
    for parameter in ROOT.params:
        assert f"`{parameter.opts[0]}`" in README
        if parameter.envvar:
            assert f"`{parameter.envvar}`" in README
    for key in settings.KEYS:
        assert f"`{key}`" in README


def test_every_hidden_command_is_an_alias() -> None:
    """
    A command that the help does not show is told as an alias.
    """
    hidden = set(COMMANDS) - VISIBLE

    assert hidden == set(re.findall(r"alias `([a-z-]+)`", README))


def test_every_exit_code_is_told() -> None:
    """
    The table of exit codes is complete.
    """
    assert {int(code) for code in Exit} == {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)}
