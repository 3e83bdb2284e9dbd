"""A node shut out, and let back in."""

import json

from motorpool import v1
from motorpool_cli.failures import Exit
from tests.cli.controller import ACTOR, Controller
from tests.cli.fleet import fill
from tests.cli.motorpool import Motorpool, rows


def test_ban_and_unban(controller: Controller, motorpool: Motorpool) -> None:
    """
    A banned node is shown as such, with who banned it and why; let back in, it is shown as before.
    """
    fill(controller)

    said = motorpool("ban", "rack1", "--reason", "stolen").stdout
    listed, described = rows(motorpool("nodes").stdout)[1], motorpool("describe", "nodes/rack1").stdout
    freed = motorpool("unban", "nodes/rack1", "-o", "json")

    assert said.startswith("nodes/rack1 is banned: ")
    assert "READY (banned)" == listed[1]
    assert f"by {ACTOR}: stolen" in described
    assert "ban" not in json.loads(freed.stdout)
    assert ["stolen"] == [each.reason for each in controller.requests if isinstance(each, v1.BanNodeRequest)]
    assert "nodes/rack1 may come back\n" == motorpool("unban", "rack1").stdout


def test_a_node_that_is_none(controller: Controller, motorpool: Motorpool) -> None:
    """
    What there is not is not banned, and the exit code says so.
    """
    fill(controller)

    assert Exit.NOT_FOUND == motorpool("ban", "nowhere").exit_code
