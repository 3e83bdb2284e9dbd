"""The last desired state this agent accepted: an older one, or another cluster's, is refused also after a restart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from motorpool_agent import failpoints
from motorpool_agent.reconcile.assignment import DesiredVersion
from motorpool_agent.state.errors import DesiredRefusedError
from motorpool_agent.state.files import write_durably

FILE_NAME = "desired.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """Which cluster's which version was accepted last."""

    cluster_id: str
    version: DesiredVersion


class DesiredRecord:
    """The file of the last accepted version; ``last`` is None before the first."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / FILE_NAME
        self.last = self._read()

    @property
    def last_version(self) -> DesiredVersion | None:
        """Return the version accepted last."""
        return None if self.last is None else self.last.version

    def accept(self, cluster_id: str, version: DesiredVersion) -> None:
        """Record ``version`` durably; raise ``DesiredRefusedError`` if it is another cluster's or an older one."""
        failpoints.reach("desired.received")
        last = self.last
        if last is not None:
            if cluster_id != last.cluster_id:
                raise DesiredRefusedError(
                    f"the desired state is of cluster {cluster_id}, and {self._path} belongs to cluster "
                    f"{last.cluster_id}; to move this node, drain it there first and start the agent with an "
                    "empty --data-dir",
                    reason="WRONG_CLUSTER",
                )
            if version < last.version:
                raise DesiredRefusedError(
                    f"the desired state {_text(version)} is older than {_text(last.version)}, the last one "
                    "accepted: the controller's store is older than what this agent was told. If its file was put "
                    "back by hand, `restore` a `motorpool-controller backup` of it: a restored one begins beyond all "
                    "that was ever said",
                    reason="DESIRED_STALE",
                )
            if version == last.version:
                return
        accepted = Accepted(cluster_id=cluster_id, version=version)
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_durably(self._path, msgspec.json.encode(accepted))
        self.last = accepted
        failpoints.reach("desired.recorded")

    def _read(self) -> Accepted | None:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Accepted)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            # Guessing would let a stale desired state in: the operator decides.
            raise DesiredRefusedError(
                f"{self._path} cannot be read ({error}); remove it to accept the controller's next desired state "
                "as the first",
                reason="DESIRED_CORRUPT",
            ) from error


def _text(version: DesiredVersion) -> str:
    return f"{version.controller_epoch}.{version.version}"
