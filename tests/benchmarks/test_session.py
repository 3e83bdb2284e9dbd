"""The session's benchmark, small: what it drives is real, and its figures are no test's."""

import pytest

from benchmarks.session import KINDS, measure

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_a_session_and_an_echo_are_measured() -> None:
    """
    The controller takes the made-up nodes' messages as an agent's, and every kind has its ratio to an echo.
    """
    figures = {figure.key: figure.value for figure in measure(nodes=2, rounds=1, share=0.4)}

    for kind in KINDS:
        assert figures[f"{kind.name}_messages_per_second"] > 0
        assert figures[f"{kind.name}_to_echo_rate_ratio"] > 0
        assert {f"{kind.name}_to_echo_cpu_ratio", f"{kind.name}_echo_cpu_us"} <= figures.keys()
