"""Handles on disk."""

from __future__ import annotations

import stat
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motorpool_agent.reconcile.assignment import Assignment, DeviceClaim, ModelSource, Parameter
from motorpool_agent.reconcile.handle import Handle, Identity, LaunchRecord, Phase
from motorpool_agent.reconcile.observation import Failure, Rendered
from motorpool_agent.state.errors import HandleError
from motorpool_agent.state.handles import Handles

ASSIGNMENT = Assignment(
    assignment_id="a1",
    generation=3,
    digest="d",
    instance="instances/chat-1",
    deployment="deployments/chat",
    backend="llama_cpp",
    backend_version="1",
    framework="cpu",
    model=ModelSource(kind="local_path", path="/models/m.gguf"),
    served_model_name="chat",
    parameters=(Parameter(option="threads", values=("2",)),),
    devices=(DeviceClaim("GPU-1", 1 << 30),),
    tensor_split=(0.5, 0.5),
    api_key="s3cret",
)
HANDLE = Handle(
    assignment=ASSIGNMENT,
    phase=Phase.STARTED,
    run=2,
    boot_id="b",
    launch=LaunchRecord(
        executor="process",
        argv=("serve", "--port", "1"),
        environment={"A": "ä\n"},
        working_directory="/w",
        ports={"http": 1},
        listen_address="127.0.0.1",
        rendered=Rendered(executor="process", argv=("serve",)),
    ),
    engine=Identity(pid=1, start_ticks=2, boot_id="b"),
    start_time=datetime(2026, 11, 21, 1, 2, 3, 4, tzinfo=UTC),
    last_failure=Failure(time=datetime(2026, 11, 21, tzinfo=UTC), reason="EXITED", message="m", exit_code=1),
)


def test_round_trip(tmp_path: Path) -> None:
    """
    What is read is what was written, the whole assignment with it.
    """
    handles = Handles(tmp_path)
    handles.write(HANDLE)

    assert handles.read("a1") == HANDLE
    assert handles.read_all() == {"a1": HANDLE}


def test_secrets_are_the_owners(tmp_path: Path) -> None:
    """
    A handle holds secrets: nobody but the agent's user may read it, or look into its directory.
    """
    Handles(tmp_path).write(HANDLE)
    directory = tmp_path / "instances" / "a1"

    assert stat.S_IMODE((directory / "handle.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


@pytest.mark.promise("P9")
@given(content=st.binary(max_size=300) | st.sampled_from([b'{"version":1}', b'{"version":2,"handle":{}}', b"null"]))
def test_any_bytes_give_an_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """
    Whatever stands in a handle's file, reading it gives the handle's error, and the file stays as it is.
    """
    handles = Handles(tmp_path_factory.mktemp("data"))
    path = handles.create("a1") / "handle.json"
    path.write_bytes(content)

    assert isinstance(handles.read_all()["a1"], HandleError)
    assert content == path.read_bytes()


def test_handle_of_another_id_is_an_error(tmp_path: Path) -> None:
    """
    A handle in the directory of another assignment is not that one's.
    """
    handles = Handles(tmp_path)
    handles.write(HANDLE)
    (handles.root / "a1").rename(handles.root / "a2")

    assert "a1" in str(handles.read_all()["a2"])


@pytest.mark.promise("P9")
@pytest.mark.parametrize("assignment_id", ["", ".", "..", "../x", "a/b", ".hidden", "x" * 129, "a\0b", "-x"])
def test_id_that_is_a_path_is_refused(tmp_path: Path, assignment_id: str) -> None:
    """
    An id that could leave the instances' folder names no directory.
    """
    with pytest.raises(HandleError, match="cannot name a directory"):
        Handles(tmp_path).write(replace(HANDLE, assignment=replace(ASSIGNMENT, assignment_id=assignment_id)))


def test_removed_is_gone_also_half_way(tmp_path: Path) -> None:
    """
    A removed handle is not found; what a crash left of a removal is swept.
    """
    handles = Handles(tmp_path)
    handles.write(HANDLE)
    handles.remove("a1")
    handles.remove("a1")
    (handles.root / ".trash-a2").mkdir()

    assert handles.read_all() == {}
    assert list(handles.root.iterdir()) == []


def test_launch_that_never_wrote_its_handle_is_swept(tmp_path: Path) -> None:
    """
    A directory with an empty lock and no handle means that nothing was executed; one with anything in it is kept.
    """
    handles = Handles(tmp_path)
    for name in ("a1", "a2"):
        (handles.create(name) / "lock").touch()
        (handles.create(name) / "logs").mkdir()
    (handles.root / "a2" / "process.json").write_text("{}")

    assert list(handles.read_all()) == ["a2"]
    assert [path.name for path in handles.root.iterdir()] == ["a2"]
