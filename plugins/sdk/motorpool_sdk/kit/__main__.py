"""The `motorpool-sdk` command: `new` writes a plugin that works, `verify` asks an installed one what an agent asks.

Exit codes: 0 done, 1 a check failed, 2 the command line is wrong.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from motorpool_sdk.kit.project import ProjectError, write_project
from motorpool_sdk.kit.verification import Row, verify
from motorpool_sdk.manifest import Kind

OK, FAILED, USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and exit."""
    parser = argparse.ArgumentParser(prog="motorpool-sdk", description="Write and verify Motorpool plugins.")
    commands = parser.add_subparsers(dest="command", required=True)
    new = commands.add_parser("new", help="write a plugin that works, with tests")
    new.add_argument("kind", choices=[kind.value for kind in Kind], help="what it serves")
    new.add_argument("name", help="the vendor's or backend's name: lower-case letters, digits and _")
    new.add_argument("--into", type=Path, default=Path(), metavar="FOLDER", help="where its folder is made; here")
    check = commands.add_parser("verify", help="ask installed plugins on this machine what an agent asks")
    check.add_argument("plugin", nargs="?", default="", help="entry point, distribution, vendor or backend; else all")
    check.add_argument(
        "--scenarios",
        type=Path,
        metavar="FILE",
        help="Python whose MADE makes up the vendor (motorpool_sdk.testing.vendor): every vendor's scenarios too",
    )
    options = parser.parse_args(arguments)
    if options.command == "new":
        sys.exit(_new(Kind(options.kind), options.name, options.into))
    if options.scenarios is not None and not (options.plugin and options.scenarios.is_file()):
        check.error(f"--scenarios {options.scenarios} is for one plugin: name it, and a file that there is")
    sys.exit(_verify(options.plugin, options.scenarios))


def _new(kind: Kind, name: str, into: Path) -> int:
    try:
        folder = write_project(kind, name, into)
    except ProjectError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    print(f"{folder} is a plugin that works; make it yours:")
    print(f"  cd {folder} && pip install -e '.[test]' && pytest")
    print(f"  motorpool-sdk verify {name}")
    return OK


def _verify(plugin: str, scenarios: Path | None) -> int:
    rows: list[Row] = []
    for row in verify(plugin, scenarios=scenarios):
        if not rows:
            _print(Row(plugin="PLUGIN", check="CHECK", passed=True, detail=""), "RESULT")
        same = next((each.check for each in rows if (each.plugin, each.detail) == (row.plugin, row.detail)), "")
        known = same and not row.passed
        _print(replace(row, detail=f"as {same}") if known else row, "ok" if row.passed else "FAILED")
        rows.append(row)
    if not rows:
        what = f"no plugin {plugin} is" if plugin else "no plugin is"
        print(f"error: {what} installed for {sys.executable}; pip install it there", file=sys.stderr)
        return USAGE
    failed = sum(not row.passed for row in rows)
    print(f"{len(rows) - failed} of {len(rows)} checks passed")
    return FAILED if failed else OK


def _print(row: Row, result: str) -> None:
    # Flushed: what comes next may take its deadline's time.
    print(f"{row.plugin:<20}  {result:<6}  {row.check:<45}  {row.detail}".rstrip(), flush=True)


if __name__ == "__main__":
    main()
