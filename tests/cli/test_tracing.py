import pytest

from tests.cli.controller import Controller
from tests.cli.motorpool import Motorpool

PLACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_trace_of_the_environment_is_handed_on(
    controller: Controller, motorpool: Motorpool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Each call carries the place that the environment names, beside its token.
    """
    monkeypatch.setenv("TRACEPARENT", PLACE)

    assert 0 == motorpool("nodes").exit_code
    assert {PLACE} == set(controller.traces)


@pytest.mark.parametrize("text", ["", "nonsense", f"{PLACE}\r\nauthorization: x"])
def test_what_is_no_trace_is_not_sent(
    controller: Controller, motorpool: Motorpool, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """
    Anything else is left out, and stops no command.
    """
    monkeypatch.setenv("TRACEPARENT", text)

    assert 0 == motorpool("nodes").exit_code
    assert {""} == set(controller.traces)
