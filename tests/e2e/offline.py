"""Run by test_offline.py in a network namespace with loopback and nothing else: deploys, asks, prints the answer."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

from motorpool import v1
from tests.e2e.chat import ask
from tests.e2e.fleet import Fleet


def main(folder: Path, engines: Path, model: Path) -> None:
    """Serve ``model`` in a fleet below ``folder``, and print interfaces, estimate and answer as JSON."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    fleet = Fleet(folder, engines)
    try:
        fleet.start_controller()
        fleet.start_agent()
        fleet.deploy("tiny", model)
        fleet.wait_state("tiny", v1.INSTANCE_STATE_RUNNING)
        deployment = fleet.deployments.GetDeployment(v1.GetDeploymentRequest(name="deployments/tiny"))
        answer = ask(fleet.credentials("tiny"))
        fleet.delete("tiny")
    finally:
        fleet.close()
    interfaces = [name for _, name in socket.if_nameindex()]
    print(json.dumps({"interfaces": interfaces, "needs": deployment.estimate.upper_bytes, "answer": answer}))


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
