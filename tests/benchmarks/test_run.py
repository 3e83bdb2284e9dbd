import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import figures
from benchmarks.figures import Figure
from benchmarks.run import FOLDER, discover, renew

ROOT = Path(__file__).parents[2]
MODULE = """
from benchmarks.figures import BenchmarkError, Figure

def measure():
    print("noise on stdout")
    {before}
    return [Figure(key="{key}", value=2.5, meaning="what it took", aim=3)]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two benchmarks, a module that is none, and a README with their markers."""
    (tmp_path / "one.py").write_text(MODULE.format(key="one_seconds", before="pass"))
    (tmp_path / "two.py").write_text(MODULE.format(key="two_seconds", before="pass"))
    (tmp_path / "shared.py").write_text("def other(): ...\n")
    (tmp_path / "README.md").write_text(
        "".join(f"{name}\n<!-- figures: {name} -->\nold\n<!-- end: {name} -->\ntail\n" for name in ("one", "two"))
    )
    return tmp_path


def run(folder: Path, *names: str) -> "subprocess.CompletedProcess[str]":
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pathlib import Path\n"
        "from benchmarks.run import main\n"
        f"sys.exit(main({list(names)!r}, Path({str(folder)!r})))"
    )
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60, cwd=folder
    )


def test_benchmarks_are_found() -> None:
    """
    Each module that measures is a benchmark, and has its markers in the README.
    """
    readme = (FOLDER / "README.md").read_text()

    assert {"agent", "catalog", "demo"} <= set(discover(FOLDER))
    for name in discover(FOLDER):
        assert readme.index(f"<!-- figures: {name} -->\n") < readme.index(f"<!-- end: {name} -->")


def test_one_benchmark(folder: Path) -> None:
    """
    With a name, stdout is that benchmark's figures in one JSON object, whatever it printed itself.
    """
    before = (folder / "README.md").read_text()

    done = run(folder, "one")

    assert 0 == done.returncode, done.stderr
    assert {"one_seconds": 2.5, "machine": figures.machine()} == json.loads(done.stdout)
    assert before == (folder / "README.md").read_text()


def test_all_benchmarks(folder: Path) -> None:
    """
    Without a name all run, and the README's tables are renewed between their markers.
    """
    done = run(folder)

    readme = (folder / "README.md").read_text()
    assert {"one", "two"} == set(json.loads(done.stdout))
    assert "old" not in readme
    assert 2 == readme.count("tail")
    assert "| what it took | `two_seconds` | 2.5 | ≤ 3: met |" in readme
    assert run(folder).returncode == 0
    assert 1 == (folder / "README.md").read_text().count("two_seconds")


def test_a_benchmark_that_fails(folder: Path) -> None:
    """
    A benchmark that cannot measure says why, exits with 1 and leaves the README as it was.
    """
    before = (folder / "README.md").read_text()
    (folder / "two.py").write_text(MODULE.format(key="x", before='raise BenchmarkError("no engine here")'))

    done = run(folder)

    assert (1, "") == (done.returncode, done.stdout)
    assert "The benchmark failed: no engine here" in done.stderr
    assert before == (folder / "README.md").read_text()


def test_an_unknown_name(folder: Path) -> None:
    """
    A name that no benchmark has is exit code 2, with those that there are.
    """
    done = run(folder, "three")

    assert 2 == done.returncode
    assert "There is no benchmark three; there are one, two." in done.stderr


def test_missing_markers(tmp_path: Path) -> None:
    """
    A README without a benchmark's markers is not guessed at.
    """
    readme = tmp_path / "README.md"
    readme.write_text("nothing")

    with pytest.raises(figures.BenchmarkError, match="has no markers <!-- figures: new -->"):
        renew(readme, {"new": [Figure(key="k", value=1, meaning="m")]})
