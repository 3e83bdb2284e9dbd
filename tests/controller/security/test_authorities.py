import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509

from motorpool_controller.security import authorities
from motorpool_controller.security.authorities import ROTATION_FILE, Authorities, Step
from motorpool_controller.security.authority import Authority, ca_file, write_over
from motorpool_controller.security.errors import AuthorityError
from tests.controller.requests import csr

EMPTY = b"""{
    "format": 1, "step": "OVERLAP", "begin_time": "2026-01-02T00:00:00Z", "certificate_pem": "", "key_pem": ""
}"""
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(name="old")
def _old(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path, "cluster-1", NOW)


def step(directory: Path, to: Step) -> None:
    rotation = authorities.read_rotation(directory)
    assert rotation is not None
    authorities.write_rotation(directory, msgspec.structs.replace(rotation, step=to))


def listed(directory: Path) -> list[str]:
    """Return the fingerprints of what ``ca.pem`` lists."""
    found = x509.load_pem_x509_certificates(ca_file(directory).read_bytes())
    return [Authority("", each, None).fingerprint for each in found]  # type: ignore[arg-type]  # its key is not asked


def test_one_does_everything_before_a_rotation(tmp_path: Path, old: Authority) -> None:
    """
    Without a rotation there is one authority, for everything.
    """
    trust = Authorities(tmp_path, "cluster-1").present()

    assert {old.fingerprint} == trust.fingerprints
    assert trust.signing is trust.serving
    assert old.pem == trust.pem


@pytest.mark.promise("P6")
def test_each_step_holds_at_once_in_a_running_controller(tmp_path: Path, old: Authority) -> None:
    """
    What was read before a step is read anew after it: who signs, who is shown, who is trusted, and what clients find.
    """
    running = Authorities(tmp_path, "cluster-1")
    before = old.sign_agent(csr(), "uid", NOW).pem.encode()

    authorities.begun(tmp_path, "cluster-1", NOW)
    overlap = running.present()
    new = overlap.signing
    after = new.sign_agent(csr(), "uid", NOW).pem.encode()
    assert (old.fingerprint, [old.fingerprint, new.fingerprint]) == (overlap.serving.fingerprint, listed(tmp_path))
    assert (old.fingerprint, new.fingerprint) == (overlap.signer(before), overlap.signer(after))
    assert old.fingerprint != new.fingerprint

    step(tmp_path, Step.SWITCHED)
    switched = running.present()
    assert new.fingerprint == switched.serving.fingerprint == switched.signing.fingerprint
    assert (overlap.pem, old.fingerprint) == (switched.pem, switched.signer(before))

    step(tmp_path, Step.FINISHING)
    assert {new.fingerprint} == running.present().fingerprints
    authorities.settle(tmp_path, "cluster-1")
    finished = running.present()
    assert (None, [new.fingerprint]) == (finished.rotation, listed(tmp_path))
    assert ("", new.fingerprint) == (finished.signer(before), finished.signer(after))
    assert new.fingerprint == Authority.load(tmp_path, "cluster-1").fingerprint


def test_keys_are_their_owners_alone(tmp_path: Path, old: Authority) -> None:
    """
    The coming authority's key is its owner's to read, and one that others could read is refused; no text shows it.
    """
    rotation = authorities.begun(tmp_path, "cluster-1", NOW)
    assert stat.S_IMODE((tmp_path / ROTATION_FILE).stat().st_mode) == 0o600
    assert "PRIVATE" not in f"{rotation!r} {rotation}"

    (tmp_path / ROTATION_FILE).chmod(0o644)
    with pytest.raises(AuthorityError, match=f"chmod 600 .*{ROTATION_FILE}"):
        authorities.load(tmp_path, "cluster-1")
    assert old.fingerprint in listed(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for others")
def test_what_root_does_serves_a_controller_that_is_an_ordinary_users(tmp_path: Path, old: Authority) -> None:
    """
    Steps that root takes leave files of the data directory's owner, and a link in the lock's place is not followed.
    """
    owner = 65_534
    os.chown(tmp_path, owner, owner)
    with authorities.held(tmp_path):
        authorities.begun(tmp_path, "cluster-1", NOW)
        files = [tmp_path / name for name in (ROTATION_FILE, "ca.pem", "ca.lock")]
        assert [owner] * 3 == [file.stat().st_uid for file in files]
        step(tmp_path, Step.FINISHING)
        authorities.settle(tmp_path, "cluster-1")
    assert [owner] * 2 == [(tmp_path / name).stat().st_uid for name in ("ca-key.pem", "ca.pem")]
    assert old.fingerprint not in listed(tmp_path)

    (tmp_path / "ca.lock").unlink()
    (tmp_path / "ca.lock").symlink_to(tmp_path / "other")
    with pytest.raises(AuthorityError, match="cannot be opened"), authorities.held(tmp_path):
        pass
    assert not (tmp_path / "other").exists()


class KilledError(Exception):
    pass


@pytest.mark.promise("P8")
@pytest.mark.parametrize("to", [Step.OVERLAP, Step.FINISHING])
@pytest.mark.parametrize("writes", range(4))
def test_a_crash_at_any_point_leaves_a_step_taken_or_not(
    tmp_path: Path, old: Authority, monkeypatch: pytest.MonkeyPatch, to: Step, writes: int
) -> None:
    """
    Killed after any number of its writes, a step holds as a whole or not at all, and the next start ends it.
    """
    new = ""
    if to is Step.FINISHING:
        authorities.begun(tmp_path, "cluster-1", NOW)
        new = authorities.load(tmp_path, "cluster-1").signing.fingerprint

    def killing(function: Callable[..., Any]) -> Callable[..., Any]:
        def killed(*arguments: Any, **options: Any) -> Any:
            nonlocal writes
            if writes == 0:
                raise KilledError
            writes -= 1
            return function(*arguments, **options)

        return killed

    with monkeypatch.context() as patch:
        patch.setattr(authorities, "write_over", killing(write_over))
        patch.setattr(Path, "unlink", killing(Path.unlink)) if to is Step.FINISHING else None
        try:
            if to is Step.OVERLAP:
                authorities.begun(tmp_path, "cluster-1", NOW)
            else:
                step(tmp_path, to)
                authorities.settle(tmp_path, "cluster-1")
        except KilledError:
            pass

    left = authorities.load(tmp_path, "cluster-1")
    trust = Authorities.settled(tmp_path, "cluster-1").present()
    assert left.fingerprints == trust.fingerprints
    assert set(listed(tmp_path)) == trust.fingerprints
    assert old.fingerprint in trust.fingerprints or {new} == trust.fingerprints


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "cannot be read"),
        (b'{"format": 1}', "cannot be read"),
        (EMPTY.replace(b"1", b"9", 1), "format 9, here 1"),
        (EMPTY, "holds no authority"),
    ],
)
def test_a_broken_file_is_named_and_a_running_controller_goes_on(
    tmp_path: Path, old: Authority, content: bytes, words: str
) -> None:
    """
    What cannot be used is refused at a start, with the file's name; who runs keeps what held before.
    """
    running = Authorities(tmp_path, "cluster-1")
    (tmp_path / ROTATION_FILE).write_bytes(content)
    (tmp_path / ROTATION_FILE).chmod(0o600)

    with pytest.raises(AuthorityError, match=words) as caught:
        Authorities(tmp_path, "cluster-1")
    assert ROTATION_FILE in str(caught.value)
    assert {old.fingerprint} == running.present().fingerprints
