"""Runs inside a container: install packages with pip, then become the command. Standard library only.

Called as ``python3 install_and_run.py COUNT PACKAGE… COMMAND…``. Whatever pip says is in the container's log; if it
fails, that is the container's exit status.
"""

import os
import subprocess
import sys

_PIP = ("-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--root-user-action=ignore", "--")


def main() -> None:
    """Install, and become the command."""
    count = int(sys.argv[1])
    packages, command = sys.argv[2 : 2 + count], sys.argv[2 + count :]
    done = subprocess.run([sys.executable, *_PIP, *packages], stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        sys.exit(f"pip could not install {' '.join(packages)}: see above")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
