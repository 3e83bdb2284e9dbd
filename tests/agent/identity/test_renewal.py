"""Renewal, against a controller with real TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from motorpool import v1
from motorpool_agent.identity.enrollment import enroll
from motorpool_agent.identity.errors import IdentityError, RefusedError, UnreachableError
from motorpool_agent.identity.renewal import Renewal
from motorpool_agent.identity.store import IdentityStore
from tests.agent.authority import TestAuthority
from tests.agent.controllers import RefusalError, TestController, serving


@pytest.fixture
async def controller() -> AsyncIterator[TestController]:
    async with serving(TestController()) as served:
        yield served


async def enrolled(tmp_path: Path, controller: TestController) -> tuple[IdentityStore, Renewal]:
    store = IdentityStore(tmp_path)
    identity = await enroll(
        store,
        server=controller.public,
        token=controller.authority.token(),
        node_id="alpha",
        host=v1.Host(),
        agent_version="0",
        use_proxy=False,
    )
    return store, Renewal(store, identity, use_proxy=False, chance=lambda: 0.5)


async def test_nothing_happens_before_half_life(tmp_path: Path, controller: TestController) -> None:
    """
    A young certificate is not renewed, and the wait is jittered past half-life.
    """
    _, renewal = await enrolled(tmp_path, controller)

    await renewal.renew_if_due()

    assert controller.renewals == []
    assert renewal.wait_seconds() > timedelta(hours=12).total_seconds()


async def test_a_due_certificate_is_swapped_with_its_key(tmp_path: Path, controller: TestController) -> None:
    """
    Renewal makes a new key, keeps node and cluster, and tells who holds connections.
    """
    controller.renew_time = datetime.now(UTC) - timedelta(hours=7)
    controller.expire_time = controller.renew_time + timedelta(hours=12)
    store, renewal = await enrolled(tmp_path, controller)
    before = renewal.identity
    told: list[bool] = []
    renewal.on_renewed(lambda: told.append(True))

    await renewal.renew_if_due()

    assert told == [True]
    assert store.load() == renewal.identity
    assert renewal.identity.key_pem != before.key_pem
    assert renewal.identity.certificate_pem != before.certificate_pem
    assert renewal.identity.document.node_uid == before.document.node_uid
    assert renewal.wait_seconds() > 0


async def test_an_expired_certificate_still_renews(tmp_path: Path, controller: TestController) -> None:
    """
    Past its day a certificate buys its successor.
    """
    controller.renew_time = datetime.now(UTC) - timedelta(days=20)
    controller.expire_time = datetime.now(UTC) - timedelta(days=19)
    _, renewal = await enrolled(tmp_path, controller)
    assert renewal.expired

    await renewal.renew()

    assert not renewal.expired


async def test_a_failure_keeps_the_old_one_and_comes_again(tmp_path: Path, controller: TestController) -> None:
    """
    A refusal changes nothing on disk; the next try is put off, not given up.
    """
    controller.renew_time = datetime.now(UTC) - timedelta(days=2)
    controller.expire_time = datetime.now(UTC) - timedelta(days=1)
    controller.refuse_renewal = RefusalError(grpc.StatusCode.UNAUTHENTICATED, "CERTIFICATE_REVOKED")
    store, renewal = await enrolled(tmp_path, controller)
    before = store.load()

    await renewal.renew_if_due()

    assert store.load() == before
    assert 0 < renewal.wait_seconds() <= 600
    with pytest.raises(RefusedError) as caught:
        await renewal.renew()
    assert caught.value.reason == "CERTIFICATE_REVOKED"


@pytest.mark.promise("P6")
async def test_whom_to_trust_comes_with_the_certificate(tmp_path: Path, controller: TestController) -> None:
    """
    A second authority is kept with the certificate that came with it; one that names none of those known is not taken.
    """
    store, renewal = await enrolled(tmp_path, controller)
    controller.told_to_trust = controller.authority.pem + TestAuthority("new").pem
    await renewal.renew()
    assert renewal.identity.ca_pem == controller.told_to_trust
    assert store.load() == renewal.identity

    controller.told_to_trust = TestAuthority("another").pem
    with pytest.raises(IdentityError, match="nothing was changed"):
        await renewal.renew()
    assert store.load() == renewal.identity


async def test_a_controller_of_before_leaves_trust_as_it_is(tmp_path: Path, controller: TestController) -> None:
    """
    An answer that says nothing of authorities renews the certificate alone.
    """
    _, renewal = await enrolled(tmp_path, controller)
    before = renewal.identity

    await renewal.renew()

    assert (renewal.identity.ca_pem, True) == (before.ca_pem, renewal.identity != before)


async def test_a_renewal_can_be_hastened(tmp_path: Path, controller: TestController) -> None:
    """
    Told to renew within a time, the node does so at a moment in it, and within an hour at the latest.
    """
    _, renewal = await enrolled(tmp_path, controller)

    renewal.hasten(1e12)
    assert 1_700 < renewal.wait_seconds() <= 1_800  # half of the hour: the chance is 0.5 here
    renewal.hasten(-1.0)
    assert renewal.wait_seconds() == 0
    assert renewal.hastened.is_set()

    await renewal.renew_if_due()
    assert len(controller.renewals) == 1
    assert renewal.wait_seconds() > timedelta(hours=12).total_seconds()


@pytest.mark.promise("P6")
async def test_who_slept_through_a_rotation_is_told_what_to_do(tmp_path: Path, controller: TestController) -> None:
    """
    A controller whose certificate is of no known authority gets no certificate request, and the words say how to go on.
    """
    _, renewal = await enrolled(tmp_path, controller)
    renewal.identity = replace(renewal.identity, ca_pem=TestAuthority("of before").pem)

    with pytest.raises(UnreachableError, match="motorpool-agent enroll --again"):
        await renewal.renew()
    assert controller.renewals == []
