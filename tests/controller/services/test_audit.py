import contextlib
import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from typer.testing import CliRunner

from motorpool import v1
from motorpool_controller.main import app
from motorpool_controller.services import audit
from motorpool_controller.services.audit import AuditLog, Record
from motorpool_controller.services.roles import Role
from tests.controller.running import Running

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
WRONG = (("authorization", f"Bearer mp_abcdefghij_{'a' * 64}"),)
SECRET = "only-the-caller-may-know"  # of this test


def refusal(seconds: float = 0, **changes: object) -> Record:
    return Record(
        **{  # type: ignore[arg-type]
            "time": NOON + timedelta(seconds=seconds),
            "method": "NodeService/ListNodes",
            "result": "TOKEN_INVALID",
            "address": "192.0.2.1",
            **changes,
        }
    )


def told(data_dir: Path) -> list[tuple[str, str, int]]:
    return [(each.result, each.address, each.count) for each in audit.read(data_dir)]


@pytest.mark.promise("P6")
async def test_every_change_and_every_refusal_is_written_down(listeners: Running) -> None:
    """
    Who made a deployment, from where; who tried with too small a role and with a wrong token; what failed and what was
    only checked. Nothing of a request but names, and of tokens nothing; reading is not written down.
    """
    stub = v1.DeploymentServiceStub(listeners.public)
    operator, reader = listeners.bearer(Role.OPERATOR), listeners.bearer(Role.READER)
    spec = v1.DeploymentSpec(model=v1.ModelSource(local_path="/m.gguf"), env={"TOKEN": SECRET}, parameters=[SECRET])
    request = v1.CreateDeploymentRequest(
        deployment_id="chat", deployment=v1.Deployment(spec=spec), request_id="r1", validate_only=True
    )
    calls = ((request, operator), (request, reader), (request, WRONG), (request, ()))
    for each, metadata in calls:
        with contextlib.suppress(grpc.aio.AioRpcError):
            await stub.CreateDeployment(each, metadata=metadata)
    await stub.ListDeployments(v1.ListDeploymentsRequest(), metadata=reader)
    with contextlib.suppress(grpc.aio.AioRpcError):
        await v1.NodeServiceStub(listeners.public).DeleteNode(
            v1.DeleteNodeRequest(name="nodes/none"), metadata=listeners.bearer(Role.ADMIN)
        )

    data_dir = listeners.settings.data_dir
    found = list(audit.read(data_dir))
    text = (data_dir / audit.FILE).read_text()
    assert [
        ("ROLE_INSUFFICIENT", "reader"),
        ("TOKEN_INVALID", ""),
        ("CREDENTIALS_MISSING", ""),
        ("NOT_FOUND", "admin"),
    ] == [(each.result, each.role) for each in found[1:]]
    first = found[0]
    assert first.actor.startswith("tokens/")
    assert ("127.0.0.1", "deployments/chat", "r1", True) == (
        first.address,
        first.target,
        first.request_id,
        first.dry_run,
    )
    assert "nodes/none" == found[-1].target
    assert SECRET not in text
    assert "mp_" not in text
    assert 0o600 == stat.S_IMODE((data_dir / audit.FILE).stat().st_mode)


def test_refusals_that_are_alike_are_counted(tmp_path: Path) -> None:
    """
    A flood of one kind is two lines a minute; another address, or another reason, is a line of its own.
    """
    log = AuditLog(tmp_path)
    for second in range(50):
        log.write(refusal(second))
    log.write(refusal(50, address="192.0.2.2"))
    log.write(refusal(70))
    log.close()

    one, other = "192.0.2.1", "192.0.2.2"
    assert [(one, 1), (other, 1), (one, 49), (one, 1)] == [(place, count) for _, place, count in told(tmp_path)]


def test_floods_from_everywhere_are_bounded(tmp_path: Path) -> None:
    """
    However many addresses there are, within a minute so many lines are written, and the rest is counted together.
    """
    log = AuditLog(tmp_path)
    for number in range(3 * audit.MOST_KINDS):
        log.write(refusal(0, address=f"192.0.{number // 256}.{number % 256}"))
    log.close()

    found = told(tmp_path)
    assert audit.MOST_KINDS + 2 == len(found)
    assert ("TOKEN_INVALID", "several", 2 * audit.MOST_KINDS - 1) == found[-1]


def test_files_are_bounded(tmp_path: Path) -> None:
    """
    A file that is full makes room for the next one, and the oldest of so many goes; what is read is in order.
    """
    log = AuditLog(tmp_path, most_bytes=1_000)
    for number in range(200):
        log.write(refusal(0, result="OK", target=f"nodes/{number}"))

    files = sorted(path.name for path in tmp_path.iterdir())
    targets = [int(each.target.removeprefix("nodes/")) for each in audit.read(tmp_path)]
    assert audit.FILES_KEPT + 1 >= len(files) >= audit.FILES_KEPT
    assert targets == sorted(targets)
    assert 199 == targets[-1]


def test_a_line_that_was_cut_off_is_passed_over(tmp_path: Path) -> None:
    """
    What a crash left of a line, or somebody wrote between, hides none of the others.
    """
    AuditLog(tmp_path).write(refusal(0, result="OK"))
    with (tmp_path / audit.FILE).open("a") as file:
        file.write('{"time": "2026-11\n[]\n{"time": "x"}\n\x00\n')
    AuditLog(tmp_path).write(refusal(1, result="OK"))

    assert 2 == len(told(tmp_path))


def test_a_disk_that_is_full_stops_no_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """
    What cannot be written down is told in the log, and that is all.
    """
    AuditLog(tmp_path / "nowhere").write(refusal())

    assert ["audit not written"] == [record.message for record in caplog.records]


def test_it_is_printed_and_chosen_from(tmp_path: Path) -> None:
    """
    The command prints the latest last, in words or JSON, and chooses by caller, target and refusal.
    """
    log = AuditLog(tmp_path)
    log.write(refusal(0, result="OK", actor="tokens/a (nightly)", target="nodes/a", method="NodeService/BanNode"))
    log.write(refusal(1, actor="\x1b[31mtokens/b"))

    def printed(*words: str) -> list[str]:
        done = CliRunner().invoke(app, ["audit", "--data-dir", str(tmp_path), *words])
        assert 0 == done.exit_code, done.output
        return done.stdout.splitlines()

    ban = "2026-11-21T12:00:00Z OK NodeService/BanNode nodes/a by tokens/a (nightly) from 192.0.2.1"
    assert [ban, "2026-11-21T12:00:01Z TOKEN_INVALID NodeService/ListNodes by \ufffd[31mtokens/b from 192.0.2.1"] == (
        printed()
    )
    assert [ban] == printed("--actor", "nightly") == printed("--target", "nodes/a")
    assert ["TOKEN_INVALID"] == [json.loads(line)["result"] for line in printed("--denied", "--json")]
    assert [] == printed("--hours", "0")


def test_what_changes_something_is_found_by_reflection() -> None:
    """
    A new change is written down from its first day on: whatever can be checked only, and what gives a secret away.
    """
    name = "/motorpool.v1."
    assert audit.is_audited(f"{name}NodeService/BanNode")
    assert audit.is_audited(f"{name}TokenService/CreateToken")
    assert audit.is_audited(f"{name}EnrollmentService/Enroll")
    assert audit.is_audited(f"{name}DeploymentService/GetDeploymentCredentials")
    assert not audit.is_audited(f"{name}NodeService/ListNodes")
    assert not audit.is_audited(f"{name}NodeService/Invented")
    assert not audit.is_audited("")
