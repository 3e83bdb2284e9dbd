import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import NoReturn

import docker.errors
import pytest
from hypothesis import settings
from hypothesis.database import DirectoryBasedExampleDatabase

from tests.agent.runtime.kill_matrix import table
from tests.docker_engine import DockerEngine
from tests.e2e import vllm_engine
from tests.postgresql import PostgresServer
from tests.tools import missing_packages

# Two test processes share two cores with the servers they start: time is no property of the code there.
# What once failed is kept with the other caches. Under CI=true Hypothesis's own profile stays: the same
# examples every run.
CACHE = Path(__file__).resolve().parent.parent / ".cache" / "hypothesis"
settings.register_profile("motorpool", deadline=None, database=DirectoryBasedExampleDatabase(CACHE))
if settings.get_current_profile_name() != "ci":
    settings.load_profile("motorpool")

NOBODY = 65534
ENGINES: Mapping[str, Callable[[], str]] = {"vllm": vllm_engine.missing}
"""Why tests with an engine cannot run here, by its name; empty where they can."""


def pytest_configure() -> None:
    """
    Hear Ctrl-C, also where tests were begun in the background: shells have what runs there ignore it, and so would each
    command that tests interrupt.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """
    Skip a test whose engine or tools this machine does not have; fail it in CI, which is to have them all.
    """
    for name in (name for mark in item.iter_markers("engine") for name in mark.args):
        if reason := ENGINES[name]():
            cannot_run_here(reason)
    need([tool for mark in item.iter_markers("needs") for tool in mark.args])


def need(tools: Sequence[str]) -> None:
    """
    End a test that uses programs which this machine does not have.
    """
    if packages := missing_packages(tools):
        cannot_run_here(f"{' and '.join(tools)} wanted; on Debian and Ubuntu: apt-get install {' '.join(packages)}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """
    Print the kill matrix, if it ran, and how much longer tests did: few steps or answers prove little.
    """
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, ())]
    for number, line in enumerate(table.lines(reports)):
        if not number:
            terminalreporter.section("kill matrix")
        terminalreporter.line(line)
    for report in reports:
        for name, value in report.user_properties:
            if name in {"steps", "phases"}:
                terminalreporter.line(f"{report.nodeid}: {value}")


def cannot_run_here(reason: str) -> NoReturn:
    """
    End a test that this machine cannot run: skipped for a user, failed in CI.
    """
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI runs every test, and this machine cannot run this one: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(name="as_ordinary_user")
def make_as_ordinary_user() -> Callable[[], AbstractContextManager[None]]:
    """
    A block in which file permissions hold, though root may run the tests.
    """

    @contextlib.contextmanager
    def as_ordinary_user() -> Iterator[None]:
        before = os.geteuid()
        if before == 0:
            os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(before)

    return as_ordinary_user


@pytest.fixture(scope="session", name="postgres")
def make_postgres() -> Iterator[PostgresServer]:
    """
    A PostgreSQL server of this process' own, with a database for each test that asks for one.
    """
    need(["pg_ctlcluster"])
    with closing(PostgresServer()) as server:
        yield server


@pytest.fixture(scope="session", name="docker")
def make_docker() -> DockerEngine:
    """
    The Docker Engine of this machine. Without one a test is skipped, in CI it fails.
    """
    try:
        return DockerEngine()
    except (docker.errors.DockerException, OSError) as error:
        cannot_run_here(f"no Docker Engine answers (set DOCKER_HOST, or start dockerd): {error}")
