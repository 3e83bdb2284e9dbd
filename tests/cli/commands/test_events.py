import json

import pytest

from motorpool import v1
from tests.cli.controller import Controller
from tests.cli.fleet import fill
from tests.cli.motorpool import Motorpool, rows


def test_events(controller: Controller, motorpool: Motorpool) -> None:
    """
    Events come with the latest last, in the reader's time.
    """
    fill(controller)

    table = rows(motorpool("events").stdout)

    assert ["TIME", "SEVERITY", "SUBJECT", "REASON", "COUNT", "MESSAGE"] == table[0]
    assert ["DEPLOYMENT_CREATED", "NODE_UNREACHABLE"] == [row[3] for row in table[1:]]
    assert ["2025-10-09 08:53:20", "WARNING", "nodes/rack1"] == table[2][:3]


@pytest.mark.parametrize("subject", ["smollm2", "deployments/smollm2"])
def test_events_of_one_thing(controller: Controller, motorpool: Motorpool, subject: str) -> None:
    """
    A bare name is a deployment's; --limit arrives.
    """
    fill(controller)

    events = json.loads(motorpool("events", subject, "--limit", "7", "-o", "json").stdout)["events"]

    (request,) = (each for each in controller.requests if isinstance(each, v1.ListEventsRequest))
    assert ["events/1"] == [event["name"] for event in events]
    assert ("deployments/smollm2", 7) == (request.subject, request.page_size)
