"""What nodes have and is placed nowhere."""

import json

from motorpool import v1
from motorpool_cli.failures import Exit
from tests.cli.controller import Controller
from tests.cli.motorpool import Motorpool, rows

STRAY = v1.StrayInstance(
    node="nodes/rack1",
    assignment_id="u1",
    instance="instances/lost-1",
    generation=2,
    state=v1.INSTANCE_STATE_QUARANTINED,
    state_message="there is no handle of it",
    pid=77,
)


def test_list_and_release(controller: Controller, motorpool: Motorpool) -> None:
    """
    A stray is listed with what its node says; released, with the reason; as a document, with the API's names.
    """
    controller.strays = [STRAY]

    before = rows(motorpool("instances", "--strays").stdout)[1]
    said = motorpool("release", "rack1", "u1", "--reason", "not ours").stdout
    after = rows(motorpool("instances", "--strays").stdout)[1]
    [told] = json.loads(motorpool("instances", "--strays", "-o", "json").stdout)["strays"]
    [asked] = [each for each in controller.requests if isinstance(each, v1.ReleaseStrayInstanceRequest)]

    assert ["rack1", "u1", "lost-1", "QUARANTINED", "77"] == before[:5]
    assert "there is no handle of it" == before[-1]
    assert "nodes/rack1 is to end u1" in said
    assert any("not ours" in cell for cell in after)
    assert ("nodes/rack1", "u1", "not ours") == (told["node"], told["assignment_id"], told["release"]["reason"])
    assert ("nodes/rack1", "u1", "not ours", False) == (
        asked.node,
        asked.assignment_id,
        asked.reason,
        asked.validate_only,
    )


def test_dry_run(controller: Controller, motorpool: Motorpool) -> None:
    """
    A check says that nothing was changed.
    """
    controller.strays = [STRAY]

    assert "nothing was changed" in motorpool("release", "rack1", "u1", "--dry-run").stdout
    [asked] = [each for each in controller.requests if isinstance(each, v1.ReleaseStrayInstanceRequest)]
    assert asked.validate_only


def test_none(controller: Controller, motorpool: Motorpool) -> None:
    """
    Without strays that is said; with the options of the other list it is refused.
    """
    assert "No strays" in motorpool("instances", "--strays").stderr
    assert Exit.USAGE == motorpool("instances", "--strays", "--deployment", "x").exit_code


def test_adopt(controller: Controller, motorpool: Motorpool) -> None:
    """
    What may be adopted is said in the list; it is named by assignment or instance, and the deployment is asked for.
    """
    mine = v1.StrayInstance(adoptable=True, deployment="deployments/chat")
    mine.MergeFrom(STRAY)
    controller.strays = [mine, v1.StrayInstance(node="nodes/rack1", assignment_id="u2")]

    columns = [row[6:8] for row in rows(motorpool("instances", "--strays").stdout)[1:]]
    said = motorpool("adopt", "rack1", "lost-1", "--add-replica", "--reason", "restored").stdout
    checked = motorpool("adopt", "rack1", "u1", "--deployment", "other", "--dry-run").stdout
    first, second = [each for each in controller.requests if isinstance(each, v1.AdoptStrayInstanceRequest)]

    assert "for chat" in columns[0]
    assert "no" in columns[1]
    assert "instances/lost-1 is deployments/chat's now" in said
    assert ("nodes/rack1", "u1", "", True, "restored") == (
        first.node,
        first.assignment_id,
        first.deployment,
        first.add_replica,
        first.reason,
    )
    assert "nothing was changed" in checked
    assert ("u1", "deployments/other", True) == (second.assignment_id, second.deployment, second.validate_only)
