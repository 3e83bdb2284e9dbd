"""`motorpool-sdk verify --scenarios`: what every vendor's plugin must stand, asked of a stranger's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from motorpool_sdk.kit.__main__ import main
from motorpool_sdk.kit.verification import Row, verify
from tests.plugins.made_plugins import write_plugin

pytestmark = pytest.mark.slow

ACME = Path(__file__).parents[4] / "examples" / "plugins" / "motorpool-acme"
MADE = ACME / "tests" / "test_scenarios.py"


@pytest.fixture(name="acme")
def make_acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example's plugin as pip would install it."""
    metadata = tmp_path / "motorpool_acme-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: motorpool-acme\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[motorpool.plugins]\nacme = motorpool_acme\n")
    for folder in (ACME, tmp_path):
        monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ACME, tmp_path))))


def scenarios(rows: list[Row]) -> dict[str, Row]:
    return {row.check.removeprefix("scenario: "): row for row in rows if row.check.startswith("scenario")}


@pytest.mark.usefixtures("acme")
def test_the_example_stands_them_without_its_hardware() -> None:
    """
    Each scenario is a row, on a machine that has no such card; one that does not apply says why.
    """
    rows = list(verify("acme", scenarios=MADE))
    stood = scenarios(rows)

    assert [] == [row for row in rows if not row.passed]
    assert {"so many cards 0", "so many cards 16", "one bad card", "a card that vanishes and returns"} <= set(stood)
    assert "acme tells no power_watts" in stood["absurd figures power_watts"].detail
    assert rows[-1].check == "hardware"
    assert rows[-1].detail.startswith("not in this machine")


@pytest.mark.usefixtures("acme")
def test_a_plugin_that_tells_another_size_fails_those_rows(tmp_path: Path) -> None:
    """
    What a plugin does wrong costs the rows that ask it, and says what was seen.
    """
    package = tmp_path / "broken" / "motorpool_acme"
    package.mkdir(parents=True)
    for file in (ACME / "motorpool_acme").glob("*.*"):
        text = file.read_text()
        (package / file.name).write_text(text.replace("size(card.memory_bytes)", "2**30"))
    made = tmp_path / "made.py"
    source = MADE.read_text().replace(
        'Path(__file__).with_name("fake_acme.c")', f"Path({str(MADE.with_name('fake_acme.c'))!r})"
    )
    made.write_text(f"import os; os.environ['PYTHONPATH'] = {str(package.parent)!r}\n{source}")

    stood = scenarios(list(verify("acme", scenarios=made)))

    failed = {name for name, row in stood.items() if not row.passed}
    assert {"so many cards 1", "absurd memory"} <= failed
    assert "so many cards 0" not in failed
    assert "1073741824" in stood["so many cards 1"].detail


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no MADE that is a motorpool_sdk.testing.vendor.MadeVendor"),
        ("raise OSError('no compiler')", "OSError: no compiler"),
    ],
)
@pytest.mark.usefixtures("acme")
def test_a_file_that_makes_nothing_up_is_a_row(tmp_path: Path, text: str, said: str) -> None:
    """
    Why there are no scenarios stands in one row, and the other checks go on.
    """
    made = tmp_path / "nothing.py"
    made.write_text(text)

    rows = list(verify("acme", scenarios=made))

    (row,) = scenarios(rows).values()
    assert (False, True) == (row.passed, said in row.detail)
    assert rows[-1].check == "hardware"


def test_scenarios_are_of_the_plugin_that_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What is made up for another package is refused by name.
    """
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    write_plugin(tmp_path, "other", kind="accelerator")

    (row,) = scenarios(list(verify("other", scenarios=MADE))).values()

    assert "is for the package motorpool_acme, and " in row.detail


@pytest.mark.parametrize(
    "line", [["verify", "--scenarios", str(MADE)], ["verify", "acme", "--scenarios", "/nowhere.py"]]
)
def test_a_wrong_line_is_refused(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """
    Scenarios are for one plugin, and of a file that there is.
    """
    with pytest.raises(SystemExit) as ended:
        main(line)

    assert 2 == ended.value.code
    assert "is for one plugin: name it, and a file that there is" in capsys.readouterr().err
