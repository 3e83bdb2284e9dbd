"""The README's declaration is one, and it tells every field."""

import re
from pathlib import Path

from motorpool import v1
from motorpool_cli import documents
from motorpool_controller.domain.declaration_faults import declaration_faults
from motorpool_controller.domain.templates import PROVIDED
from motorpool_controller.services.convert.declaration import declaration_of

ROOT = Path(__file__).parents[4]
README = (ROOT / "plugins" / "backends" / "custom" / "README.md").read_text()


def faults(content: str) -> list[tuple[str, str]]:
    """Return what the command or the controller would find wrong in a declaration."""
    (document,), wrong = documents.read("declaration", content.encode())
    message = v1.BackendDeclaration()
    document.fill(message, skip=("name",))
    assert [] == [*wrong, *document.problems]
    name = document.scalar(document.fields()["name"], "name")
    return list(declaration_faults(name, declaration_of(message)))


def test_the_readmes_declaration_is_accepted() -> None:
    """
    What it says to write can be applied.
    """
    (block,) = re.findall(r"^```yaml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)

    assert [] == faults(block)


def test_the_examples_declaration_is_accepted() -> None:
    """
    So can the file that one is told to begin with.
    """
    assert [] == faults((ROOT / "examples" / "backends" / "phrasebook.yaml").read_text())


def test_every_field_and_every_variable_is_told() -> None:
    """
    What can be declared stands on the page.
    """
    fields = {field.name for kind in (v1.BackendDeclaration, v1.DeclaredVersion) for field in kind.DESCRIPTOR.fields}

    assert set() == {name for name in {*fields, *PROVIDED} if not re.search(rf"\b{name}\b", README)}
