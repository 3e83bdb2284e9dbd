"""The gate: 200 agents over real sockets, each with its own certificate, connection and session, in every run of CI."""

from functools import cache

import pytest

from benchmarks.figures import BenchmarkError
from benchmarks.scale import figures, sizes
from benchmarks.scale_trial import Found, Pace, trial

AGENTS = 200
PACE = Pace(
    settle_seconds=0.5,
    idle_periods=2.0,
    rounds=3,
    reads=10,
    deploys=3,
    away_seconds=3.0,
    patience_seconds=60.0,
    # As many heartbeats a second as two thousand agents send.
    settings="heartbeat_seconds = 1.0\n",
)


@cache  # longer than a fixture lasts, where a worker runs tests of other files in between
def _trial() -> Found:
    return trial(AGENTS, PACE)


@pytest.fixture(name="found")
def _found() -> Found:
    return _trial()


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.xdist_group("scale")
class TestTwoHundredAgents:
    """What one run of the trial found."""

    def test_living_writes_nothing(self, found: Found) -> None:
        """
        Agents whose measurements change with every heartbeat, and that do nothing but live, cause no write.
        """
        assert found.idle_agent_minutes > 0
        assert 0 == found.writes

    def test_a_heartbeat_costs_at_most_two_echoes(self, found: Found) -> None:
        """
        In processor time of the server, over as many connections at the same pace in the same run, the best of three
        rounds each.
        """
        assert min(found.heartbeat_us) <= 2 * min(found.echo_us), (found.heartbeat_us, found.echo_us)

    def test_all_are_back_after_a_kill_of_the_controller(self, found: Found) -> None:
        """
        Killed with SIGKILL and started again, the controller has all nodes ready and all instances running as they did:
        none was ended, started anew or lost.
        """
        assert AGENTS == found.ready
        assert AGENTS < found.instances
        assert (found.instances, 0) == (found.kept, found.lost)

    def test_all_of_it_are_figures(self, found: Found) -> None:
        """
        What the benchmark shows of a size is one figure each, by keys that name the size.
        """
        shown = list(figures(found))

        assert len(shown) == len({figure.key for figure in shown})
        assert all(str(AGENTS) in figure.key for figure in shown)


@pytest.mark.parametrize("given", ["", "  "])
def test_sizes_have_defaults(given: str) -> None:
    """
    Where nothing is asked for, two sizes that take minutes are measured.
    """
    assert [200, 1_000] == list(sizes(given))


def test_sizes_are_asked_for() -> None:
    """
    Sizes are measured from the smallest to the largest, each once.
    """
    assert [200, 5_000, 10_000] == list(sizes("5000, 200,10_000,200"))


@pytest.mark.parametrize("given", ["many", "0", "200,-1", "10001", "200;1000"])
def test_a_size_that_cannot_be_is_refused(given: str) -> None:
    """
    What is no number of agents, or more than are simulated, is an error that says what may be asked for.
    """
    with pytest.raises(BenchmarkError, match=r"AGENTS is '.*'; give numbers of agents from 1 to 10,000"):
        sizes(given)
