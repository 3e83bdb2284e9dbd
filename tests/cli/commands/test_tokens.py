import json

import pytest

from motorpool import v1
from tests.cli.controller import Controller
from tests.cli.fleet import fill
from tests.cli.motorpool import Motorpool, rows


def request_of(controller: Controller) -> v1.CreateTokenRequest:
    (request,) = (each for each in controller.requests if isinstance(each, v1.CreateTokenRequest))
    return request


def test_create(controller: Controller, motorpool: Motorpool) -> None:
    """
    The secret alone is on stdout, so that a script can keep it.
    """
    result = motorpool("tokens", "create", "--role", "operator", "--description", "ci", "--ttl", "30d")

    request = request_of(controller)
    assert (0, "mpt_new_55\n") == (result.exit_code, result.stdout)
    assert "tokens/t7 (operator); it is shown this once:\n" == result.stderr
    assert (v1.ROLE_OPERATOR, "ci", 30 * 86400) == (request.role, request.description, request.ttl.seconds)
    assert not request.HasField("uses")


def test_create_a_join_token(controller: Controller, motorpool: Motorpool) -> None:
    """
    A join token's uses arrive; how long it holds is the controller's default.
    """
    created = json.loads(motorpool("tokens", "create", "--role", "join", "--uses", "-1", "-o", "json").stdout)

    assert ("mpt_new_55", "ROLE_JOIN") == (created["secret"], created["token"]["role"])
    assert -1 == request_of(controller).uses
    assert not request_of(controller).HasField("ttl")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--role", "boss"), "'boss' is not one of 'join', 'reader', 'operator', 'admin'"),
        (("--role", "reader", "--uses", "2"), "--uses counts the uses of a join token"),
        (("--role", "join", "--uses", "0"), "is not 0"),
        (("--role", "join", "--ttl", "0"), "'--ttl': '0' is not a length of time"),
        ((), "--role"),
    ],
)
def test_a_wrong_option(controller: Controller, motorpool: Motorpool, options: tuple[str, ...], words: str) -> None:
    """
    A wrong option is exit code 2, and nothing was sent.
    """
    result = motorpool("tokens", "create", *options)

    assert 2 == result.exit_code
    assert words in result.stderr
    assert [] == controller.requests


def test_list(controller: Controller, motorpool: Motorpool) -> None:
    """
    Tokens are listed without their secrets.
    """
    fill(controller)

    row = rows(motorpool("tokens", "list").stdout)[1]
    (listed,) = json.loads(motorpool("tokens", "list", "-o", "json").stdout)["tokens"]

    assert ["t1", "join", "2025-10-09 08:53:20", "1"] == row[:4]
    assert "tokens/t1" == listed["name"]


def test_revoke(controller: Controller, motorpool: Motorpool) -> None:
    """
    A revoked token is gone; revoking it again is exit code 5.
    """
    fill(controller)

    revoked, again = motorpool("tokens", "revoke", "t1", "-o", "json"), motorpool("tokens", "revoke", "t1")

    assert {"deleted": "tokens/t1"} == json.loads(revoked.stdout)
    assert 5 == again.exit_code
