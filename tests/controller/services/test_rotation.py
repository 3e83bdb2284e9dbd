from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest

from motorpool import v1
from motorpool_controller.config import Settings
from motorpool_controller.domain.errors import InvalidError
from motorpool_controller.security.authorities import Authorities
from motorpool_controller.security.errors import RotationError
from motorpool_controller.services import rotation
from motorpool_controller.services.backups import back_up, restore
from motorpool_controller.services.initialization import initialise_data_dir
from motorpool_controller.services.roles import Role
from motorpool_controller.services.trust import TrustNotice, trusted_of
from tests.controller.agent_client import Agent
from tests.controller.clusters import Cluster, reason, running, settings

LET_IN = "NOT_FOUND"
NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


@pytest.fixture(name="here")
def _here(tmp_path: Path) -> Settings:
    made = settings(tmp_path / "here")
    initialise_data_dir(made)
    return made


def trusted(cluster: Cluster) -> list[str]:
    return sorted(cluster.authorities.present().fingerprints)


async def refusal(agent: Agent) -> str:
    """Return what a call over a connection of its own says, which nobody who is let in gets an answer to."""
    async with agent.channel() as channel:
        try:
            await v1.AgentServiceStub(channel).SendLogs(iter([v1.SendLogsRequest(subscription_id="nobody")]))
        except grpc.aio.AioRpcError as error:
            return reason(error) if error.code() is not grpc.StatusCode.UNAVAILABLE else str(error.details())
    raise AssertionError("it was answered")


def names(here: Settings) -> list[str]:
    return [each.node for each in rotation.status(here).behind]


def test_steps_have_an_order(here: Settings) -> None:
    """
    A step before its time says which one comes first; one taken again changes nothing; after the last it begins anew.
    """
    with pytest.raises(RotationError, match="ca rotate"):
        rotation.switch(here, NOW)
    with pytest.raises(RotationError, match="ca rotate"):
        rotation.finish(here)

    begun = rotation.begin(here, NOW)
    assert (True, False) == (begun.anew, rotation.begin(here, NOW).anew)
    assert begun.trust.fingerprints == rotation.status(here).trust.fingerprints
    with pytest.raises(RotationError, match=r"ca switch` comes first"):
        rotation.finish(here)

    assert [True, False] == [rotation.switch(here, NOW).anew for _ in range(2)]
    with pytest.raises(RotationError, match=r"not finished.*ca finish"):
        rotation.begin(here, NOW)

    assert begun.trust.signing.fingerprint == rotation.finish(here).trust.serving.fingerprint
    assert rotation.status(here).trust.rotation is None
    assert begun.trust.signing.fingerprint != rotation.begin(here, NOW).trust.signing.fingerprint


@pytest.mark.promise("P6")
async def test_who_would_be_locked_out_is_named(here: Settings) -> None:
    """
    Nodes count as ready once they told that they trust the new authority; those that did not hold up a step that is not
    forced, and a banned one holds up nothing.
    """
    async with running(here) as cluster:
        before = trusted(cluster)
        agents = [Agent(cluster, name) for name in ("a", "old", "away", "banned")]
        for agent in agents:
            await agent.enrol()
        await cluster.nodes.BanNode(v1.BanNodeRequest(name="nodes/banned"), metadata=cluster.admin)
        await asyncio.to_thread(rotation.begin, here, NOW)
        for agent, told in zip(agents, (trusted(cluster), [], before), strict=False):
            session = agent.session()
            await session.open(trusted_authorities=told)
            await session.close()

        assert ["nodes/away", "nodes/old"] == names(here)
        with pytest.raises(RotationError, match="nodes/away, nodes/old would be locked out"):
            await asyncio.to_thread(rotation.switch, here, NOW)
        forced = await asyncio.to_thread(rotation.switch, here, NOW, force=True)
        assert ("nodes/away", "nodes/old") == forced.forced
        with pytest.raises(RotationError, match="nodes/away, nodes/old would be locked out"):
            await asyncio.to_thread(rotation.finish, here)


@pytest.mark.promise("P6")
async def test_the_listeners_go_along(here: Settings) -> None:
    """
    While both are trusted, certificates of both are let in and the server's stays the old one's; then the new one's is
    shown; in the end a certificate of the old one opens nothing, and what it has open is ended in words.
    """
    async with running(here) as cluster:
        agent = Agent(cluster)
        await agent.enrol()
        old = cluster.authorities.present().serving
        async with agent.channel() as held:
            await asyncio.to_thread(rotation.begin, here, NOW)
            answer = await v1.AgentServiceStub(held).Renew(v1.RenewRequest(csr_pem=agent.csr()))
            assert trusted(cluster) == sorted(
                each.fingerprint for each in cluster.authorities.present().trusted if each.pem in answer.ca_pem
            )
            fresh = Agent(cluster)
            fresh.key, fresh.certificate, fresh.uid = agent.key, answer.certificate_pem, agent.uid
            for one in (agent, fresh):
                assert await refusal(one) == LET_IN

            await asyncio.to_thread(rotation.switch, here, NOW, force=True)
            assert "CERTIFICATE_VERIFY_FAILED" in await refusal(agent)  # it trusts the old one alone
            cluster.authority = cluster.authorities.present().serving
            assert old.fingerprint != cluster.authority.fingerprint
            for one in (agent, fresh):
                assert await refusal(one) == LET_IN

            await asyncio.to_thread(rotation.finish, here, force=True)
            with pytest.raises(grpc.aio.AioRpcError, match="enrol the machine again") as caught:
                await v1.AgentServiceStub(held).Renew(v1.RenewRequest(csr_pem=agent.csr()))
            assert reason(caught.value) == "CERTIFICATE_REVOKED"
        assert await refusal(agent) != LET_IN
        assert await refusal(fresh) == LET_IN


async def test_an_agent_in_session_is_told_once(here: Settings) -> None:
    """
    At the heartbeat after a step, an agent that knows of authorities is told to renew, once; an older one never.
    """
    async with running(here) as cluster:
        agents = [Agent(cluster, name) for name in ("a", "old")]
        for agent in agents:
            await agent.enrol()
        session, older = (agent.session() for agent in agents)
        await session.open(trusted_authorities=trusted(cluster))
        await older.open()
        for each in (session, older):
            await each.send_full()
            await each.barrier()
        assert [] == session.renewals

        await asyncio.to_thread(rotation.begin, here, NOW)
        for each in (session, older, session, older):
            await each.barrier()

        assert [True] == [0 <= told.within.ToTimedelta().total_seconds() < 1 for told in session.renewals]
        assert [] == older.renewals
        for each in (session, older):
            await each.close()


def test_it_is_told_again_after_the_last_step(here: Settings) -> None:
    """
    Who trusts both is told when one of them is dropped; the switch between changes nothing for it, and who trusts what
    there is is told nothing.
    """
    rotation.begin(here, NOW)
    authorities = Authorities(here.data_dir, "c")
    notice = TrustNotice(authorities, authorities.present().fingerprints, per_second=20.0)
    assert not notice.look(100)
    rotation.switch(here, NOW)
    assert not notice.look(100)

    rotation.finish(here)

    assert (True, False) == (notice.look(100), notice.look(100))
    told = notice.take()
    assert told is not None
    assert told.within.ToTimedelta().total_seconds() == 5.0
    assert notice.take() is None


@pytest.mark.parametrize("wrong", [["A" * 64], ["0"], ["0" * 64] * 9])
def test_a_hello_names_fingerprints(wrong: list[str]) -> None:
    """
    What is no SHA-256, and more of them than an agent trusts, is refused with the field's name.
    """
    with pytest.raises(InvalidError, match=r"hello\.trusted_authorities"):
        trusted_of(wrong)
    assert ("0" * 64, "1" * 64) == trusted_of(["1" * 64, "0" * 64])


async def test_clients_are_told_whom_to_trust(here: Settings) -> None:
    """
    A machine that joins between is given both, and a token of that time carries the one that is shown.
    """
    await asyncio.to_thread(rotation.begin, here, NOW)
    async with running(here) as cluster:
        agent = Agent(cluster)
        answer = await cluster.enrollment.Enroll(
            v1.EnrollRequest(node_id="a", csr_pem=agent.csr(), enrollment_id="a"),
            metadata=await cluster.token(Role.JOIN),
        )
        trust = cluster.authorities.present()
        assert answer.ca_pem == trust.pem == (here.data_dir / "ca.pem").read_text()
        assert trust.signing.fingerprint == trust.signer(answer.certificate_pem.encode())
        made = await cluster.tokens.CreateToken(v1.CreateTokenRequest(role=v1.ROLE_JOIN), metadata=cluster.admin)
        assert made.secret.endswith(trust.serving.fingerprint)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("switched", [False, True])
def test_a_backup_between_two_steps_is_restored_between_them(here: Settings, tmp_path: Path, *, switched: bool) -> None:
    """
    A cluster put back in the middle of a rotation trusts both, and the rotation goes on there.
    """
    there = settings(tmp_path / "there")
    rotation.begin(here, NOW)
    if switched:
        rotation.switch(here, NOW)
    back_up(here, tmp_path / "cluster.backup", NOW)

    restore(there, tmp_path / "cluster.backup", NOW)

    assert rotation.status(there).trust.fingerprints == rotation.status(here).trust.fingerprints
    assert rotation.status(there).trust.serving.fingerprint == rotation.status(here).trust.serving.fingerprint
    rotation.switch(there, NOW)
    new = rotation.status(here).trust.signing.fingerprint
    assert {new} == rotation.finish(there).trust.fingerprints
