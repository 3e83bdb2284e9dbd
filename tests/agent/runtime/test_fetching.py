"""What is fetched before a launch, and who has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from motorpool_agent.reconcile.assignment import Adapter, Assignment, Download, HubFile, ModelSource, Speculative
from motorpool_agent.reconcile.observation import State
from motorpool_agent.runtime.errors import LaunchError
from motorpool_agent.runtime.fetching import NoModels, fetched, users_of
from motorpool_agent.state.errors import ModelFilesError

HUB = ModelSource(kind="hugging_face", repository="acme/m", revision="c1")
LORA = ModelSource(kind="model_scope", repository="acme/lora")
DOWNLOAD = Download(source=HUB, commit="c1", files=(HubFile(path="m.gguf", size_bytes=7),))


class Kept:
    """Models that are there at once, or are refused."""

    directory = Path("/models")

    def __init__(self, refused: str = "") -> None:
        self.refused = refused

    def folder(self, files_id: str) -> Path:
        return self.directory / files_id

    async def fetch(self, download: Download, heard: Callable[[str, int, int], None]) -> Path:
        if self.refused:
            raise ModelFilesError(self.refused, reason="DISK_FULL")
        heard("downloading", 3, 7)
        return self.folder(download.source.repository)


def wish(**changes: Any) -> Assignment:
    return replace(
        Assignment(
            assignment_id="u1",
            generation=1,
            digest="d",
            instance="instances/x-1",
            deployment="deployments/x",
            backend="b",
            backend_version="1",
            framework="cpu",
            model=HUB,
            served_model_name="x",
            downloads=(DOWNLOAD,),
        ),
        **changes,
    )


async def test_what_lay_on_hubs_lies_on_the_node_then() -> None:
    """
    Model, adapters and draft stand at their folders; what lies here already stays as it is, and progress is told.
    """
    local = ModelSource(kind="local_path", path="/other")
    told: list[tuple[object, ...]] = []
    draft = Speculative(algorithm="draft", draft_model=HUB)
    wanted = wish(
        adapters=(Adapter(name="a", source=LORA), Adapter(name="b", source=local)),
        speculative=draft,
        downloads=(DOWNLOAD, replace(DOWNLOAD, source=LORA)),
    )

    there = await fetched(Kept(), wanted, lambda *said: told.append(said))

    assert ModelSource(kind="local_path", path="/models/acme/m") == there.model
    assert ["/models/acme/lora", "/other"] == [each.source.path for each in there.adapters]
    assert there.speculative is not None
    assert there.speculative.draft_model == there.model
    assert (State.DOWNLOADING, "downloading", 3, 7) == told[0]


async def test_what_cannot_be_had_is_a_failed_launch() -> None:
    """
    With the reason and the words of who could not get it; it is tried again.
    """
    with pytest.raises(LaunchError, match="no room") as failed:
        await fetched(Kept("no room"), wish(), lambda *_: None)
    with pytest.raises(LaunchError):
        await fetched(NoModels(Path("/models")), wish(), lambda *_: None)

    assert ("DISK_FULL", False) == (failed.value.reason, failed.value.final)


@pytest.mark.parametrize(
    ("changes", "uses"),
    [
        ({}, True),
        ({"downloads": ()}, False),
        ({"downloads": (), "model": ModelSource(kind="local_path", path="/models/one")}, True),
        ({"downloads": (), "model": ModelSource(kind="local_path", path="/models/one/m.gguf")}, True),
        ({"downloads": (), "model": ModelSource(kind="local_path", path="/models/one:*Q4*")}, True),
        ({"downloads": (), "model": ModelSource(kind="local_path", path="/models/one-more/m.gguf")}, False),
        (
            {
                "downloads": (),
                "adapters": (Adapter(name="a", source=ModelSource(kind="local_path", path="/models/one")),),
            },
            True,
        ),
    ],
)
def test_who_has_files_is_known_by_wish_and_by_path(changes: dict[str, Any], *, uses: bool) -> None:
    """
    Whoever they were fetched for, and whoever was deployed by their path on this node.
    """
    users = users_of(DOWNLOAD.files_id, Path("/models/one"), [wish(**changes)])

    assert (["instances/x-1"] if uses else []) == users
