"""The controller as systemd's service, on a machine that systemd booted."""

from __future__ import annotations

import sys

import grpc
import pytest

from motorpool import v1
from motorpool_cli.bearer import secure_channel
from tests.e2e.fleet import BIN, free_port, wait_for
from tests.e2e.test_systemd import Machine, make_machine

UNIT = "motorpool-controller.service"
DATA = "/var/lib/motorpool/controller"
PROGRAM = BIN / "motorpool-controller"

__all__ = ["make_machine"]  # a fixture

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.needs("systemd-run", "journalctl", "nsenter", "unshare"),
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux's"),
]


def unit(machine: Machine) -> dict[str, str]:
    shown = machine.type("systemctl", "show", UNIT)
    return dict(line.partition("=")[::2] for line in shown.splitlines())


def test_a_controller_is_installed_hangs_and_comes_back(machine: Machine) -> None:
    """
    It makes its cluster once, answers over TLS in its confinement, is started anew where it hangs and when the machine
    boots, and leaves its data where it is taken away.
    """
    port = free_port()
    # This environment may stand in a home directory or in /tmp, where the unit looks for nothing.
    machine.type("mkdir", "-p", f"/etc/systemd/system/{UNIT}.d")
    drop_in = "[Service]\\nProtectHome=read-only\\nPrivateTmp=no\\nWatchdogSec=10\\nTimeoutAbortSec=1\\n"
    machine.type("sh", "-c", f"printf '{drop_in}' > /etc/systemd/system/{UNIT}.d/here.conf")
    listening = ("--listen", f"127.0.0.1:{port}", "--agents-listen", f"127.0.0.1:{free_port()}")

    told = machine.type(PROGRAM, "install", "--user", "root", *listening)
    answers(machine, port)
    again = machine.type(PROGRAM, "install")
    cluster = answers(machine, port)
    hung = unit(machine)["MainPID"]
    machine.type("kill", "-STOP", hung)
    wait_for("systemd to see that the controller hangs", lambda: unit(machine)["NRestarts"] != "0")
    after_hanging = answers(machine, port)
    machine.booted.reboot()
    after_boot = answers(machine, port)
    taken = machine.type(PROGRAM, "uninstall")

    assert f"made: {DATA}" in told
    assert f"as it should be: {DATA} (there is a cluster in it)" in again
    assert f"as it should be: /etc/systemd/system/{UNIT}" in again
    assert [cluster, cluster] == [after_hanging, after_boot]
    assert f"kept: {DATA}" in taken
    machine.type("test", "-e", f"/etc/systemd/system/{UNIT}", status=1)
    machine.type("test", "-e", f"{DATA}/client.toml")
    machine.type(PROGRAM, "uninstall", "--purge")
    machine.type("test", "-e", DATA, status=1)


def answers(machine: Machine, port: int) -> str:
    """Return which cluster answers, as soon as one does."""
    authority = machine.type("cat", f"{DATA}/ca.pem").encode()
    token = machine.type("sed", "-n", 's/^token = "\\(.*\\)"/\\1/p', f"{DATA}/client.toml").strip()

    def cluster() -> str:
        with secure_channel(f"127.0.0.1:{port}", authority, token, [("grpc.enable_http_proxy", 0)]) as channel:
            try:
                return v1.ClusterServiceStub(channel).GetCluster(v1.GetClusterRequest(), timeout=5).cluster_id
            except grpc.RpcError:
                return ""

    try:
        return wait_for("the controller to answer", cluster)
    except BaseException:
        print(machine.type("journalctl", "--unit", UNIT, "--no-pager", "--lines", "60"))
        raise
