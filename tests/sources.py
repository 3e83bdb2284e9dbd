"""What in our own sources must not be: code out of data, a shell, and trust in whoever answers."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
CODE_OUT_OF_DATA = frozenset({"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"})
BUILTINS = frozenset({"eval", "exec", "__import__"})
CALLS = frozenset(
    {
        *("os.system", "os.popen", "os.spawnl", "os.spawnlp", "os.spawnv", "os.spawnvp", "commands.getoutput"),
        *("subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell", "pty.spawn"),
        *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "torch.load", "tempfile.mktemp"),
        *("ssl._create_unverified_context", "code.interact", "builtins.eval", "builtins.exec"),
        *("pandas.read_pickle", "numpy.load", "np.load"),
    }
)
SWITCHES = {"shell": True, "verify": False, "allow_pickle": True}
ENDINGS = frozenset({"insecure_channel", "add_insecure_port", "extractall", "create_subprocess_shell"})
ATTRIBUTES = frozenset({"CERT_NONE", "VERIFY_NONE"})


def packages() -> list[Path]:
    """Return the packages that go into the wheels: those beside a member's pyproject.toml."""
    return sorted(
        package.parent
        for member in ROOT.glob("**/pyproject.toml")
        if not {".venv", ".cache", "node_modules", "tests", "examples"} & set(member.relative_to(ROOT).parts)
        for package in member.parent.glob("*/__init__.py")
        if member.parent != ROOT
    )


def found(source: str) -> Iterator[tuple[int, str]]:
    """Give what is found in a source: line, and what it is."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, each.name) for each in node.names if _first(each.name) in CODE_OUT_OF_DATA)
        elif isinstance(node, ast.ImportFrom):
            if _first(node.module or "") in CODE_OUT_OF_DATA:
                yield node.lineno, node.module or ""
            names = {f"{node.module}.{each.name}" for each in node.names}
            yield from ((node.lineno, name) for name in sorted(names & CALLS))
        elif isinstance(node, ast.Call):
            name = _dotted(node.func)
            if name in BUILTINS | CALLS or name.rpartition(".")[2] in ENDINGS:
                yield node.lineno, name
            for keyword in node.keywords:
                value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
                if keyword.arg in SWITCHES and value is SWITCHES[keyword.arg]:
                    yield node.lineno, f"{keyword.arg}={value}"
        elif isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES:
            yield node.lineno, node.attr


def _first(name: str) -> str:
    return name.partition(".")[0]


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        inner = _dotted(node.value)
        return f"{inner}.{node.attr}" if inner else node.attr
    return node.id if isinstance(node, ast.Name) else ""
