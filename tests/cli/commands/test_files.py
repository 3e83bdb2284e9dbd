"""What nodes fetched of models, and making room."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from motorpool import v1
from motorpool_cli import transfers
from motorpool_cli.failures import Exit
from tests.cli.controller import Controller
from tests.cli.motorpool import Motorpool, rows

SOURCE = v1.ModelSource(hugging_face=v1.HuggingFaceSource(repository="acme/m", file="*Q4*", revision="c1"))


def days_ago(days: int) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(datetime.now(UTC) - timedelta(days=days))
    return made


def add(controller: Controller, node: str, files_id: str, **changes: Any) -> None:
    name = f"nodes/{node}/files/{files_id}"
    given = {"state": v1.MODEL_FILES_STATE_COMPLETE, "total_bytes": 4 << 30, "done_bytes": 4 << 30, "etag": "e"}
    given |= {"source": SOURCE, "create_time": days_ago(9)}
    controller.files[name] = v1.ModelFiles(name=name, **{**given, **changes})


@pytest.fixture(name="controller")
def _controller(controller: Controller) -> Controller:
    add(controller, "a", "m-1", instances=["instances/chat-1"], use_time=days_ago(8))
    add(controller, "a", "m-2", use_time=days_ago(8))
    add(controller, "b", "m-3", state=v1.MODEL_FILES_STATE_PARTIAL, done_bytes=1 << 30)
    add(controller, "b", "m-4", use_time=days_ago(1))
    add(controller, "b", "m-5", state=v1.MODEL_FILES_STATE_DOWNLOADING)
    return controller


def test_list(controller: Controller, motorpool: Motorpool) -> None:
    """
    Who has what of which model, how much, for whom, and when it was last used; of one node if it is named.
    """
    every = rows(motorpool("files", "list").stdout)[1:]
    of_b = json.loads(motorpool("files", "list", "--node", "b", "-o", "json").stdout)["files"]

    assert ["a", "m-1", "hf:acme/m:*Q4*@c1", "COMPLETE", "4 GiB", "chat-1", "8d ago"] == every[0]
    assert "1 GiB of 4 GiB" in every[2]
    assert ["nodes/b/files/m-3", "nodes/b/files/m-4", "nodes/b/files/m-5"] == [each["name"] for each in of_b]


def test_delete(controller: Controller, motorpool: Motorpool) -> None:
    """
    By node and name; what came free is told, and what does not exist.
    """
    dry = motorpool("files", "delete", "a", "m-2", "--dry-run").stdout
    done = motorpool("files", "delete", "a", "m-2").stdout
    again = motorpool("files", "delete", "a", "m-2")

    assert "nothing was changed" in dry
    assert "nodes/a/files/m-2 is deleted; 4 GiB came free" in done
    assert Exit.NOT_FOUND == again.exit_code


def test_prune(controller: Controller, motorpool: Motorpool) -> None:
    """
    Nothing that an instance has or that is being fetched; with a time, nothing that was used since; each by its etag.
    """
    dry = motorpool("files", "prune", "--dry-run").stdout
    old = motorpool("files", "prune", "--unused-for", "7d").stdout
    left = sorted(controller.files)
    rest = motorpool("files", "prune").stdout

    assert "would be deleted, 9 GiB; nothing was changed" in dry
    assert "deleted; 5 GiB came free" in old
    assert ["nodes/a/files/m-1", "nodes/b/files/m-4", "nodes/b/files/m-5"] == left
    assert "4 GiB came free" in rest
    assert ["nodes/a/files/m-1", "nodes/b/files/m-5"] == sorted(controller.files)
    assert {"e"} == {each.etag for each in controller.requests if isinstance(each, v1.DeleteModelFilesRequest)}
    assert "Nothing to prune" in motorpool("files", "prune").stdout


@pytest.mark.parametrize(
    ("done", "speed", "words"),
    [
        (1 << 30, None, "1 GiB of 4 GiB (25%)"),
        (1 << 30, 64 << 20, "1 GiB of 4 GiB (25%), 64 MiB/s, 48 s left"),
        (1 << 30, 1 << 20, "1 GiB of 4 GiB (25%), 1 MiB/s, 51 min left"),
        (0, 1 << 18, "0 B of 4 GiB (0%), 256 KiB/s, 4 h 33 min left"),
    ],
)
def test_how_far_a_download_is(done: int, speed: int | None, words: str) -> None:
    """
    Bytes always, speed and the rest of the time where they are known.
    """
    instance = v1.Instance(
        state=v1.INSTANCE_STATE_DOWNLOADING,
        progress_bytes=done,
        progress_total_bytes=4 << 30,
        progress_bytes_per_second=speed,
    )

    assert words == transfers.words(instance)
    assert 26 == len(transfers.bar(instance).strip())


def test_an_instance_that_downloads_says_how_far_it_is(controller: Controller, motorpool: Motorpool) -> None:
    """
    In the list, and in its description.
    """
    controller.instances["instances/x-1"] = v1.Instance(
        name="instances/x-1",
        state=v1.INSTANCE_STATE_DOWNLOADING,
        state_message="downloading acme/m",
        progress_bytes=1 << 30,
        progress_total_bytes=4 << 30,
    )

    assert "downloading acme/m: 1 GiB of 4 GiB (25%)" in motorpool("ps").stdout
    assert "1 GiB of 4 GiB (25%)" in motorpool("describe", "instances/x-1").stdout
