"""Layers on other nodes' devices, where the node's operator allows it."""

from dataclasses import replace

import pytest

from motorpool_llama_cpp.plugin import LlamaCpp
from motorpool_llama_cpp.rpc import SERVER
from motorpool_sdk import Severity, StartOrder
from tests.plugins.backends.llama_cpp.conftest import InstallProgram
from tests.plugins.backends.llama_cpp.requests import LAUNCHER, member


@pytest.mark.parametrize(
    ("setting", "server", "styles"), [("1", True, ["rpc"]), ("1", False, []), ("0", True, []), ("", True, [])]
)
def test_it_spans_nodes_where_it_is_allowed_to(
    install_program: InstallProgram, monkeypatch: pytest.MonkeyPatch, setting: str, server: bool, styles: list[str]
) -> None:
    """
    An rpc-server is open to whoever reaches it: it stands beside llama-server, and the operator said so.
    """
    install_program()
    if server:
        install_program(name=SERVER)
    monkeypatch.setenv("MOTORPOOL_LLAMA_RPC", setting)

    found = LlamaCpp().profile().distributed_styles

    assert styles == [style.style for style in found]
    assert all(style.start_order is StartOrder.FOLLOWERS_FIRST for style in found)


def test_without_a_program_there_is_nothing_to_span_nodes_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The engine that is installed for a node alone has no rpc-server.
    """
    monkeypatch.setenv("MOTORPOOL_LLAMA_RPC", "1")

    assert () == LlamaCpp().profile().distributed_styles


def test_what_cannot_span_nodes_says_so_before_anything_is_started() -> None:
    """
    An image or the launcher brings no rpc-server: the check refuses both, and takes the node's own build.
    """
    images = replace(member(0), executable="", image="ghcr.io/ggml-org/llama.cpp:server-cuda")
    launcher = replace(member(0), backend_version=LAUNCHER.backend_version, executable="")

    for request, reasons in ((images, ["STYLE_UNKNOWN"]), (launcher, ["STYLE_UNKNOWN"]), (member(1), [])):
        found = [each.reason for each in LlamaCpp().check(request) if each.severity is Severity.ERROR]
        assert reasons == found
