"""What the agent observed: its own types to messages."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from motorpool import v1
from motorpool_agent.convert.assignment import assignment_message
from motorpool_agent.convert.facts import facts_message
from motorpool_agent.reconcile.assignment import ModelSource
from motorpool_agent.reconcile.observation import (
    Answer,
    Attempt,
    ExecutorStatus,
    Failure,
    FilesState,
    ModelFiles,
    ObservedInstance,
    Rendered,
    State,
)

# An engine may write a megabyte without a newline; the message is for people.
_LINE_CHARACTERS = 2000
_TAIL_LINES = 200

_STATES: Mapping[State, v1.InstanceState.ValueType] = {
    State.DOWNLOADING: v1.INSTANCE_STATE_DOWNLOADING,
    State.STARTING: v1.INSTANCE_STATE_STARTING,
    State.RUNNING: v1.INSTANCE_STATE_RUNNING,
    State.STOPPING: v1.INSTANCE_STATE_STOPPING,
    State.ERROR: v1.INSTANCE_STATE_ERROR,
    State.QUARANTINED: v1.INSTANCE_STATE_QUARANTINED,
}
_FILES_STATES: Mapping[FilesState, v1.ModelFilesState.ValueType] = {
    FilesState.COMPLETE: v1.MODEL_FILES_STATE_COMPLETE,
    FilesState.DOWNLOADING: v1.MODEL_FILES_STATE_DOWNLOADING,
    FilesState.PARTIAL: v1.MODEL_FILES_STATE_PARTIAL,
}


def digest_of(body: Message) -> str:
    """Return the digest of a body: equal digests mean equal bodies."""
    return hashlib.sha256(body.SerializeToString(deterministic=True)).hexdigest()


def digest_over(digests: Mapping[str, str]) -> str:
    """Return the digest over all observed objects, from digest by id."""
    lines = "".join(f"{object_id} {digests[object_id]}\n" for object_id in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()


def timestamp(time: datetime | None) -> Timestamp | None:
    """Return the message of a time; None for none."""
    if time is None:
        return None
    message = Timestamp()
    message.FromDatetime(time)
    return message


def line(text: str) -> str:
    """Return a line that fits into a message: valid text, not endless."""
    cut = text if len(text) <= _LINE_CHARACTERS else text[:_LINE_CHARACTERS] + "…"
    return cut.encode("utf-8", "replace").decode("utf-8")


def lines(texts: Iterable[str]) -> list[str]:
    """Return lines that fit into a message."""
    return [line(text) for text in texts]


def instance_message(instance: ObservedInstance) -> v1.ObservedInstance:
    """Return the message of an observed instance."""
    return v1.ObservedInstance(
        assignment_id=instance.assignment_id,
        generation=instance.generation,
        state=_STATES[instance.state],
        message=line(instance.message),
        launch=_rendered(instance.launch),
        pid=instance.pid,
        start_time=timestamp(instance.start_time),
        restart_count=instance.restart_count,
        first_failure=_failure(instance.first_failure),
        last_failure=_failure(instance.last_failure),
        progress_bytes=instance.progress_bytes,
        progress_total_bytes=instance.progress_total_bytes,
        progress_bytes_per_second=instance.progress_bytes_per_second,
        adopted=instance.adopted,
        next_try_time=timestamp(instance.next_try_time),
        pid_start_ticks=instance.pid_start_ticks,
        instance=instance.instance,
        ports=_ports(instance.ports),
        parts=instance.parts,
        assignment=None if instance.assignment is None else assignment_message(instance.assignment),
        attempt=instance.attempt,
        attempts=[_attempt(attempt) for attempt in instance.attempts],
    )


def executor_message(status: ExecutorStatus) -> v1.ExecutorStatus:
    """Return the message of whether an executor works."""
    return v1.ExecutorStatus(executor=status.executor, works=status.works, message=line(status.message))


def answer_message(answer: Answer) -> v1.QueryAnswer:
    """Return the message of an answer."""
    return v1.QueryAnswer(
        query_id=answer.query_id,
        error_reason=answer.error_reason,
        error_message=line(answer.error_message),
        facts=None if answer.facts is None else facts_message(answer.facts),
        freed_bytes=answer.freed_bytes,
    )


def files_message(files: ModelFiles) -> v1.ModelFiles:
    """Return the message of what was fetched of a model."""
    return v1.ModelFiles(
        source=_source(files.source),
        commit=files.commit,
        state=_FILES_STATES[files.state],
        total_bytes=files.total_bytes,
        done_bytes=files.done_bytes,
        folder=files.folder,
        create_time=timestamp(files.create_time),
        use_time=timestamp(files.use_time),
        instances=files.instances,
        etag=files.etag,
    )


def _source(source: ModelSource) -> v1.ModelSource:
    if source.kind == "model_scope":
        scope = v1.ModelScopeSource(model_id=source.repository, file_path=source.file, revision=source.revision)
        return v1.ModelSource(model_scope=scope)
    hub = v1.HuggingFaceSource(repository=source.repository, file=source.file, revision=source.revision)
    return v1.ModelSource(hugging_face=hub)


def _rendered(launch: Rendered | None) -> v1.RenderedLaunch | None:
    if launch is None:
        return None
    return v1.RenderedLaunch(
        executor=launch.executor,
        argv=launch.argv,
        env=launch.env,
        image=launch.image,
        ports=_ports(launch.ports),
        listen_address=launch.listen_address,
    )


def _ports(ports: Mapping[str, int]) -> list[v1.Port]:
    return [v1.Port(port_name=name, number=number) for name, number in sorted(ports.items())]


def _attempt(attempt: Attempt) -> v1.Attempt:
    return v1.Attempt(
        number=attempt.number,
        begin_time=timestamp(attempt.begin_time),
        failure=_failure(attempt.failure),
        executed=attempt.executed,
        ready=attempt.ready,
        generation=attempt.generation,
    )


def _failure(failure: Failure | None) -> v1.Failure | None:
    if failure is None:
        return None
    return v1.Failure(
        time=timestamp(failure.time),
        reason=failure.reason,
        message=line(failure.message),
        exit_code=failure.exit_code,
        signal=failure.signal,
        out_of_memory=failure.out_of_memory,
        evidence=line(failure.evidence),
        log_tail=lines(failure.log_tail[-_TAIL_LINES:]),
    )
