from datetime import timedelta

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from motorpool import v1
from motorpool_controller.services.roles import Role
from tests.controller.running import Running, reason


async def test_created_token_works_and_is_listed_without_its_secret(listeners: Running) -> None:
    """
    A created token admits its role; lists name it and never hold its secret; after deletion it admits nobody.
    """
    admin = listeners.bearer(Role.ADMIN)
    tokens = v1.TokenServiceStub(listeners.public)
    cluster = v1.ClusterServiceStub(listeners.public)
    made = await tokens.CreateToken(
        v1.CreateTokenRequest(role=v1.ROLE_OPERATOR, description="ci", ttl=Duration(seconds=60)), metadata=admin
    )
    bearer = (("authorization", f"Bearer {made.secret}"),)
    asked = await cluster.GetCluster(v1.GetClusterRequest(), metadata=bearer)
    listed = await tokens.ListTokens(v1.ListTokensRequest(), metadata=admin)

    assert asked.caller_role == v1.ROLE_OPERATOR
    assert made.token in listed.tokens
    assert timedelta(seconds=60) == made.token.expire_time.ToDatetime() - made.token.create_time.ToDatetime()
    assert not made.token.HasField("uses_left")
    assert made.secret.split("_")[2] not in str(listed)

    await tokens.DeleteToken(v1.DeleteTokenRequest(name=made.token.name), metadata=admin)
    with pytest.raises(grpc.RpcError) as caught:
        await cluster.GetCluster(v1.GetClusterRequest(), metadata=bearer)
    assert (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID") == reason(caught.value)


async def test_join_token_has_an_hour_and_one_use_unless_told(listeners: Running) -> None:
    """
    A join token's defaults are an hour and one machine; negative uses are any number; it carries the fingerprint.
    """
    admin = listeners.bearer(Role.ADMIN)
    tokens = v1.TokenServiceStub(listeners.public)
    plain = await tokens.CreateToken(v1.CreateTokenRequest(role=v1.ROLE_JOIN), metadata=admin)
    many = await tokens.CreateToken(v1.CreateTokenRequest(role=v1.ROLE_JOIN, uses=-1), metadata=admin)

    assert timedelta(hours=1) == plain.token.expire_time.ToDatetime() - plain.token.create_time.ToDatetime()
    assert plain.token.uses_left == 1
    assert not many.token.HasField("uses_left")
    assert plain.secret.endswith(f"_{listeners.authority.fingerprint}")


@pytest.mark.parametrize(
    "request_",
    [
        v1.CreateTokenRequest(),
        v1.CreateTokenRequest(role=v1.ROLE_AGENT),
        v1.CreateTokenRequest(role=99),  # type: ignore[arg-type]  # a number of a later version
        v1.CreateTokenRequest(role=v1.ROLE_ADMIN, ttl=Duration(seconds=-1)),
        v1.CreateTokenRequest(role=v1.ROLE_ADMIN, ttl=Duration(seconds=0)),
        v1.CreateTokenRequest(role=v1.ROLE_ADMIN, ttl=Duration(seconds=2**62)),
        v1.CreateTokenRequest(role=v1.ROLE_ADMIN, ttl=Duration(seconds=-(2**62))),
        v1.CreateTokenRequest(role=v1.ROLE_ADMIN, uses=1),
        v1.CreateTokenRequest(role=v1.ROLE_JOIN, uses=0),
        v1.CreateTokenRequest(role=v1.ROLE_JOIN, uses=2**31 - 1),
        v1.CreateTokenRequest(role=v1.ROLE_READER, description="x" * 2_000),
    ],
)
async def test_token_that_may_not_be_is_refused(listeners: Running, request_: v1.CreateTokenRequest) -> None:
    """
    A role, lifetime, number of uses or description out of range names its field, and makes no token.
    """
    admin = listeners.bearer(Role.ADMIN)
    before = listeners.store.tokens.list()
    with pytest.raises(grpc.RpcError) as caught:
        await v1.TokenServiceStub(listeners.public).CreateToken(request_, metadata=admin)

    assert (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID") == reason(caught.value)
    assert before == listeners.store.tokens.list()


async def test_list_comes_in_pages(listeners: Running) -> None:
    """
    Pages together are the whole list in order; a page token from elsewhere is refused.
    """
    admin = listeners.bearer(Role.ADMIN)
    for _ in range(5):
        listeners.bearer(Role.READER)
    tokens = v1.TokenServiceStub(listeners.public)
    names: list[str] = []
    page_token = ""
    while True:
        page = await tokens.ListTokens(v1.ListTokensRequest(page_size=2, page_token=page_token), metadata=admin)
        names += [token.name for token in page.tokens]
        page_token = page.next_page_token
        if not page_token:
            break

    assert [f"tokens/{token.token_id}" for token in listeners.store.tokens.list()] == names
    with pytest.raises(grpc.RpcError) as caught:
        await tokens.ListTokens(v1.ListTokensRequest(page_token="bogus"), metadata=admin)
    assert (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID") == reason(caught.value)


@pytest.mark.parametrize("name", ["tokens/none", "none", "", "tokens/", "nodes/a"])
async def test_token_that_is_not_there_cannot_be_deleted(listeners: Running, name: str) -> None:
    """
    Deleting what is not there, or is no token's name, says so.
    """
    with pytest.raises(grpc.RpcError) as caught:
        await v1.TokenServiceStub(listeners.public).DeleteToken(
            v1.DeleteTokenRequest(name=name), metadata=listeners.bearer(Role.ADMIN)
        )

    assert reason(caught.value)[1] == ("NOT_FOUND" if name == "tokens/none" else "FIELD_INVALID")
