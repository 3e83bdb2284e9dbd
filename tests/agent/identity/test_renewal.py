"""Renewal, against a controller with real TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

from motorpool import v1
from motorpool_agent.identity.enrollment import enroll
from motorpool_agent.identity.errors import RefusedError
from motorpool_agent.identity.renewal import Renewal
from motorpool_agent.identity.store import IdentityStore
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
