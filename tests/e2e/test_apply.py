"""What `motorpool export` writes, `motorpool apply` makes of another cluster, by real controllers."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf.field_mask_pb2 import FieldMask

from motorpool import v1
from motorpool_controller.services.exports import export
from tests.controller.agent_client import Agent
from tests.controller.clusters import Cluster, running, settings
from tests.e2e.fleet import BIN

pytestmark = [pytest.mark.e2e]

DEVICE = v1.Device(device_id="gpu-0", vendor="v", framework="f", health=v1.HEALTH_HEALTHY)
DECLARED = """
kind: Backend
name: backends/echo
declaration:
  description: answers what it was asked
  versions:
  - version: "1"
    command: [echo, "{{port}}"]
    env: {GREETING: hello}
"""
DEPLOYMENT = """
kind: Deployment
name: chat
spec:
  model: {local_path: /models/m.gguf}
  backend: echo
  env: {TOKEN: s3cret}
  claim: {memory_bytes: 2GiB}
  reschedule_after: 90s
"""


@pytest.fixture(name="here")
async def _here(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with running(settings(tmp_path / "here")) as cluster:
        yield cluster


@pytest.fixture(name="there")
async def _there(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with running(settings(tmp_path / "there")) as cluster:
        yield cluster


async def motorpool(cluster: Cluster, *words: str, given: str = "", exit_code: int = 0) -> tuple[str, str]:
    """
    Run the command against a cluster, and return what it printed.
    """
    process = await asyncio.create_subprocess_exec(
        str(BIN / "motorpool"),
        "--server",
        cluster.public_target,
        *words,
        env={**os.environ, "MOTORPOOL_CONFIG": str(cluster.settings.data_dir / "client.toml")},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(given.encode()), timeout=60)
    assert exit_code == process.returncode, err.decode()
    return out.decode(), err.decode()


async def applied(cluster: Cluster, given: str, *words: str) -> dict[str, str]:
    """
    Apply documents, and return what became of each object.
    """
    out, _ = await motorpool(cluster, "apply", "-f", "-", "-o", "json", *words, given=given)
    return {change["name"]: change["change"] for change in json.loads(out)["changes"]}


async def join(cluster: Cluster) -> None:
    agent = Agent(cluster, "a")
    agent.show(DEVICE)
    await (await agent.joined()).barrier()


async def test_an_export_makes_the_same_cluster_again(here: Cluster, there: Cluster) -> None:
    """
    Exported, applied to a new cluster and exported there, the documents are the same; applied again they change
    nothing, in whatever order they stand.
    """
    await join(here)
    await motorpool(here, "cordon", "a/gpu-0", "--reason", "loud fan")
    await here.nodes.UpdateNode(
        v1.UpdateNodeRequest(
            node=v1.Node(name="nodes/a", labels={"zone": "b"}), update_mask=FieldMask(paths=["labels"])
        ),
        metadata=here.admin,
    )
    # The deployment stands before the backend that it needs.
    await applied(here, f"{DEPLOYMENT}---{DECLARED}")
    exported, _ = await motorpool(here, "export", "--secrets")
    await join(there)
    first = await applied(there, exported)
    again = await applied(there, "\n---\n".join(reversed(exported.split("\n---\n"))))
    exported_there, _ = await motorpool(there, "export", "--secrets")

    assert exported == exported_there
    assert "s3cret" in exported
    assert "loud fan" in exported
    assert {"created", "changed"} == set(first.values())
    assert {"unchanged"} == set(again.values())
    assert {"backends/echo", "deployments/chat"} == again.keys()


async def test_the_controllers_own_command_speaks_to_the_controller(here: Cluster, tmp_path: Path) -> None:
    """
    `motorpool-controller apply` makes the cluster of its data directory so, by the admin's file that `init` made.
    """
    await join(here)
    file = tmp_path / "wishes.yaml"
    file.write_text(f"{DEPLOYMENT}---{DECLARED}", encoding="utf-8")

    async def controller(*words: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            *(str(BIN / "motorpool-controller"), "apply", "--data-dir", str(here.settings.data_dir), *words),
            env={**os.environ, "MOTORPOOL_SERVER": here.public_target},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await asyncio.wait_for(process.communicate(), timeout=60)
        return process.returncode, out.decode()

    tried = await controller("-f", str(file), "--dry-run")
    made = await controller("-f", str(file))
    again = await controller("-f", str(file), "--prune")
    wrong = await controller("-f", str(tmp_path / "missing.yaml"))

    assert (0, True) == (tried[0], "would be created" in tried[1]), tried
    assert (0, True) == (made[0], "deployments/chat is created" in made[1]), made
    assert (0, True) == (again[0], "2 as they were" in again[1]), again
    assert wrong[0] != 0
    assert "missing.yaml" in wrong[1]


async def test_what_the_database_says_is_what_the_controller_says(here: Cluster, there: Cluster) -> None:
    """
    Exported out of the data directory the documents are the same, and `apply` takes them.
    """
    await join(here)
    await motorpool(here, "cordon", "a/gpu-0", "--reason", "loud fan")
    await applied(here, f"{DEPLOYMENT}---{DECLARED}")
    masked, _ = await motorpool(here, "export")
    whole, _ = await motorpool(here, "export", "--secrets")
    offline = await asyncio.to_thread(export, here.settings, secrets=True)
    await join(there)
    changed = await applied(there, offline)

    assert list(yaml.safe_load_all(whole)) == list(yaml.safe_load_all(offline))
    assert list(yaml.safe_load_all(masked)) == list(yaml.safe_load_all(export(here.settings, secrets=False)))
    assert {"backends/echo", "deployments/chat", "nodes/a/devices/gpu-0"} == changed.keys()


async def test_a_dry_run_says_what_would_change_and_changes_nothing(here: Cluster) -> None:
    """
    Field by field, without a secret, and as the controller would take it; then it is still as it was.
    """
    await applied(here, f"{DECLARED}---{DEPLOYMENT}")
    await here.live_settled()
    revision = here.store.view.revision
    changed = DEPLOYMENT.replace("s3cret", "other").replace("90s", "5m") + "  replicas: 3\n"
    told, _ = await motorpool(
        here, "apply", "-f", "-", "--dry-run", given=f"{changed}---{DEPLOYMENT.replace('chat', 'b')}"
    )
    untouched = here.store.view.revision

    assert [
        "~ deployments/chat would be changed",
        "    spec.replicas: 1 -> 3",
        "    spec.env.TOKEN: *** -> ***",
        "    spec.reschedule_after: 90s -> 300s",
        "+ deployments/b would be created",
    ] == told.splitlines()
    assert revision == untouched
    assert ["deployments/chat"] == list(here.store.view.deployments)


async def test_secrets_that_were_left_out_stay_where_they_are(here: Cluster, there: Cluster) -> None:
    """
    An export without secrets changes nothing where it comes from; elsewhere it is refused, each place by its name.
    """
    await applied(here, f"{DECLARED}---{DEPLOYMENT}")
    exported, _ = await motorpool(here, "export")
    same = await applied(here, exported)
    _, refused = await motorpool(there, "apply", "-f", "-", given=exported, exit_code=7)

    assert "s3cret" not in exported
    assert "hello" not in exported
    assert {"unchanged"} == set(same.values())
    assert "spec.env.TOKEN: its value was left out of the export" in refused
    assert "declaration.versions[0].env.GREETING" in refused
    assert {} == there.store.view.deployments


@pytest.mark.parametrize(
    ("given", "exit_code", "told"),
    [
        ("kind: Deployment\nname: x\nspecs: {}\n", 2, "-:3: specs: there is no such field; did you mean spec?"),
        ("name: x\n", 2, "-:1: kind: it is missing; write one of Backend, Node, Deployment"),
        ("kind: Fleet\nname: x\n", 2, "-:1: kind: 'Fleet' is no kind"),
        (f"{DEPLOYMENT}---{DEPLOYMENT}", 2, "deployments/chat stands at -:3 already"),
        ("kind: Deployment\nname: x\nspec: {replicas: many}\n", 2, "-:3: spec.replicas: 'many' is no whole number"),
        (DEPLOYMENT.replace("/models", "models"), 7, "-:5: spec.model.local_path"),
    ],
)
async def test_what_is_wrong_is_told_by_its_line_and_nothing_is_changed(
    here: Cluster, given: str, exit_code: int, told: str
) -> None:
    """
    Be it the file's own fault or one that the controller finds: document, line and field are named.
    """
    _, error = await motorpool(here, "apply", "-f", "-", given=given, exit_code=exit_code)

    assert told in error
    assert ({}, {}) == (dict(here.store.view.deployments), dict(here.store.view.backends))


async def test_what_turns_out_wrong_on_the_way_is_told_with_what_was_done(here: Cluster) -> None:
    """
    Of an unknown backend nothing can be said while there is none at all: the first one that is declared shows it.
    """
    given = f"{DECLARED}---{DEPLOYMENT.replace('echo', 'ecko')}"
    _, error = await motorpool(here, "apply", "-f", "-", given=given, exit_code=7)

    assert "1 of 2 changes were made before it" in error
    assert "ecko" in error
    assert (["backends/echo"], {}) == (list(here.store.view.backends), dict(here.store.view.deployments))


async def test_only_prune_deletes(here: Cluster) -> None:
    """
    What no file names stays, unless one asks for it; a backend in use is left until its deployment is gone.
    """
    await applied(here, f"{DECLARED}---{DEPLOYMENT}---{DEPLOYMENT.replace('chat', 'other')}")
    kept = await applied(here, DEPLOYMENT)
    pruned = await applied(here, DEPLOYMENT, "--prune")
    await here.until(lambda: list(here.store.view.deployments) == ["deployments/chat"])

    assert {"deployments/chat": "unchanged"} == kept
    assert {"deployments/chat": "unchanged", "deployments/other": "deleted"} == pruned
    assert ["backends/echo"] == list(here.store.view.backends)


async def test_nodes_that_have_not_joined_are_left_out(here: Cluster) -> None:
    """
    A node cannot be made by a file: it is told of, and the rest is done.
    """
    node: dict[str, Any] = {"kind": "Node", "name": "nodes/a", "cordoned": True}
    given = f"{json.dumps(node)}\n---{DECLARED}"
    _, told = await motorpool(here, "apply", "-f", "-", given=given)
    await join(here)
    changed = await applied(here, given)

    assert "note: nodes/a has not joined this cluster" in told
    assert {"backends/echo": "unchanged", "nodes/a": "changed"} == changed
    assert here.store.view.nodes["nodes/a"].cordoned
