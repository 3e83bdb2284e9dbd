"""Hubs behind a proxy, as the environment names it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from motorpool_controller.domain.errors import UnavailableError
from tests.controller.catalog.asking import Asker
from tests.hub.contents import large_gguf
from tests.hub.proxy import Proxy
from tests.hub.server import LocalHub

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _hub(hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, _ = large_gguf(tmp_path)
    hub.add("o/n", {"m.gguf": content})
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)


def test_everything_goes_by_the_proxy(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A hub whose name only the proxy knows is read through it, and so is the host of large files that it leads to.
    """
    real, hub.endpoint = hub.endpoint, "http://hub.invalid"
    large = urlsplit(hub.large_endpoint).netloc
    with Proxy({"hub.invalid": real, large: hub.large_endpoint}) as proxy:
        monkeypatch.setenv("http_proxy", proxy.address)
        asker = Asker(hub, None)
        known = asker.read()
        asker.close()

    assert "large" == known.facts.name
    assert {"hub.invalid", large} == set(proxy.seen)


def test_a_host_that_is_excepted_is_asked_itself(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What no_proxy names is not asked of the proxy.
    """
    with Proxy({}) as proxy:
        monkeypatch.setenv("http_proxy", proxy.address)
        monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
        asker = Asker(hub, None)
        known = asker.read()
        asker.close()

    assert "large" == known.facts.name
    assert [] == proxy.seen


def test_a_proxy_that_is_not_there(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The error says to look at the variables of the proxy.
    """
    with Proxy({}) as gone:
        address = gone.address
    monkeypatch.setenv("http_proxy", address)
    asker = Asker(hub, None)

    with pytest.raises(UnavailableError) as caught:
        asker.read()
    asker.close()

    assert "HUB_UNREACHABLE" == caught.value.reason
    assert "proxy variables" in caught.value.message
