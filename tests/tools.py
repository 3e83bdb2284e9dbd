"""Programs that tests use and a fresh machine may lack, by the Debian package that brings each: the one list of them.

A test names what it uses: ``@pytest.mark.needs("ip")``. Without it the test is skipped with that reason; in CI it
fails, as ``.ci/run`` installs what ``python3 tests/tools.py`` prints. Standard library only: there is no .venv then.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable

PACKAGES = (
    {"espeak-ng": "espeak-ng", "ip": "iproute2", "node": "nodejs", "npm": "npm", "pg_ctlcluster": "postgresql"}
    | dict.fromkeys(("nsenter", "unshare"), "util-linux")
    | dict.fromkeys(("systemd-run", "journalctl"), "systemd")
)


def missing_packages(tools: Iterable[str] = PACKAGES) -> list[str]:
    """Return the packages of those tools that this machine does not have."""
    return sorted({PACKAGES[tool] for tool in tools if shutil.which(tool) is None})


if __name__ == "__main__":
    for package in missing_packages():
        print(package)
