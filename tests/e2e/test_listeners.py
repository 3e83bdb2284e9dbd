"""Who listens where, and what answers whom: a whole fleet's sockets, looked at from outside."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import psutil
import pytest

from motorpool import v1
from tests.e2e.fleet import Fleet, engines_below

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.promise("P6")]


def listening(pid: int) -> set[tuple[str, int]]:
    """Return the addresses and ports at which a process listens."""
    return {
        (found.laddr.ip.removeprefix("::ffff:"), found.laddr.port)
        for found in psutil.Process(pid).net_connections(kind="inet")
        if found.status == psutil.CONN_LISTEN or (found.type == socket.SOCK_DGRAM and not found.raddr)
    }


def test_nothing_listens_that_nobody_asked_for(fleet: Fleet, tiny_model: Path) -> None:
    """
    A controller listens at its two addresses, an agent and its plugins nowhere, an engine at the one port that its
    endpoint names, on loopback where the deployment says so; and none of them answers anything without credentials.
    """
    agent = fleet.start_agent()
    fleet.deploy("open", tiny_model)
    fleet.deploy("inner", tiny_model, exposure=v1.EXPOSURE_LOCAL)
    for name in ("open", "inner"):
        fleet.wait_state(name, v1.INSTANCE_STATE_RUNNING)
    (inner,), (opened,) = fleet.instances("inner"), fleet.instances("open")
    assert fleet.controller is not None

    assert {(fleet.host, fleet.public_port), (fleet.host, fleet.agents_port)} == listening(fleet.controller.pid)
    assert set() == listening(agent.pid)
    # All that works for the node: its agent, plugins, shims and engines.
    heard = {at for process in engines_below(fleet.folder / "a") for at in listening(process.pid)}
    assert {("127.0.0.1", int(each.endpoint.rpartition(":")[2])) for each in (inner, opened)} == heard

    for port in {port for _, port in heard}:
        for path in ("/v1/models", "/v1/completions", "/props", "/slots", "/metrics"):
            status = _status(f"http://127.0.0.1:{port}{path}")
            assert status in {401, 404, 501} or path == "/v1/models", (port, path, status)
    _refuses(fleet)


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:  # the engine of this test
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def _refuses(fleet: Fleet) -> None:
    """Nothing of the controller answers who has neither token nor certificate, nor who speaks plain HTTP/2."""
    ca = (fleet.controller_dir / "ca.pem").read_bytes()
    request = v1.CreateDeploymentRequest(deployment_id="job")
    for port, expected in (
        (fleet.public_port, grpc.StatusCode.UNAUTHENTICATED),
        (fleet.agents_port, grpc.StatusCode.UNAVAILABLE),
    ):
        with grpc.secure_channel(f"{fleet.host}:{port}", grpc.ssl_channel_credentials(ca)) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                v1.DeploymentServiceStub(channel).CreateDeployment(request, timeout=20)
            assert expected == caught.value.code()
        with grpc.insecure_channel(f"{fleet.host}:{port}") as channel:
            with pytest.raises(grpc.RpcError) as caught:
                v1.DeploymentServiceStub(channel).CreateDeployment(request, timeout=20)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
