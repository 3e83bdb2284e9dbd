"""A second controller of a cluster: the authority carried from the first one, and a data directory made with it."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from motorpool_controller.config import Settings
from motorpool_controller.security import authorities
from motorpool_controller.security.authorities import ROTATION_FILE, Trust
from motorpool_controller.security.authority import KEY_FILE, Authority, ca_file, sync_folder, write_new, write_over
from motorpool_controller.security.errors import AuthorityError
from motorpool_controller.store.database import cluster_there
from motorpool_controller.store.errors import NotInitialisedError, StoreError
from motorpool_controller.store.lock import DataDirLock

_FORMAT = "motorpool authority 1"
_MOST_BYTES = 1024 * 1024


class _Carried(msgspec.Struct, frozen=True, kw_only=True):
    """What a file of `ca export` says. It holds the authority's key."""

    format: str
    cluster_id: str
    files: dict[str, str]

    def __repr__(self) -> str:
        """Return it without the key."""
        return f"_Carried(cluster_id={self.cluster_id!r})"


def export_authority(settings: Settings, file: Path) -> Trust:
    """Write what another controller of this cluster needs to a new file, for its owner alone; return what is in it."""
    cluster = cluster_there(settings.database)
    directory = settings.data_dir
    with authorities.held(directory):
        authorities.settle(directory, cluster)
        trust = authorities.load(directory, cluster)
        names = [name for name in (KEY_FILE, ca_file(directory).name, ROTATION_FILE) if (directory / name).exists()]
        files = {name: (directory / name).read_text("utf-8") for name in names}
    carried = _Carried(format=_FORMAT, cluster_id=cluster, files=files)
    try:
        if str(file) == "-":
            sys.stdout.buffer.write(msgspec.json.encode(carried))
            sys.stdout.flush()
        else:
            write_new(file, msgspec.json.encode(carried), 0o600)
    except OSError as error:
        raise AuthorityError(f"{file} cannot be written: {error.strerror}; name another file") from error
    return trust


def join(settings: Settings, file: Path) -> Trust:
    """Make the data directory of one more controller of the cluster in a PostgreSQL database."""
    carried, cluster = _checked(settings, file)
    directory = settings.data_dir
    there = [
        name for name in (KEY_FILE, ca_file(directory).name, ROTATION_FILE, "controller.db") if _at(settings, name)
    ]
    if there:
        raise AuthorityError(
            f"{directory} holds {', '.join(there)} already, and nothing was changed; start it with "
            "`motorpool-controller run`, bring its authority up to date with `motorpool-controller ca import`, or name "
            "another folder with --data-dir"
        )
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return _put(directory, carried, cluster)


def import_authority(settings: Settings, file: Path) -> Trust:
    """Put a carried authority in the place of this controller's, which does not run; refuse another cluster's."""
    carried, cluster = _checked(settings, file)
    with DataDirLock(settings.data_dir):
        return _put(settings.data_dir, carried, cluster)


def _at(settings: Settings, name: str) -> bool:
    return (settings.data_dir / name).exists()


def _put(directory: Path, carried: _Carried, cluster: str) -> Trust:
    """Write the files of an authority; a crash in the middle is made good by doing it again."""
    pem = ca_file(directory).name
    try:
        fits = Authority.read(cluster, carried.files[pem].encode(), carried.files[KEY_FILE].encode())
    except ValueError as error:
        raise AuthorityError(f"the file holds no authority: {error}; export it again") from error
    if fits is None:
        raise AuthorityError("the file holds the key of another certificate; export it again")
    with authorities.held(directory):
        for name in (KEY_FILE, pem, ROTATION_FILE):
            if name in carried.files:
                write_over(directory / name, carried.files[name].encode(), 0o644 if name == pem else 0o600)
            else:
                (directory / name).unlink(missing_ok=True)
        sync_folder(directory)
        return authorities.load(directory, cluster)


def _checked(settings: Settings, file: Path) -> tuple[_Carried, str]:
    if isinstance(settings.database, Path):
        raise StoreError(
            "a second controller needs the database that the first one has, and this one is set to use a file of its "
            "own: name the PostgreSQL database with the setting `database` (MOTORPOOL_CONTROLLER_DATABASE)"
        )
    carried = _read(file)
    try:
        cluster = cluster_there(settings.database)
    except NotInitialisedError as error:
        raise NotInitialisedError(f"{error} on the first machine, without --authority") from error
    if carried.cluster_id != cluster:
        raise AuthorityError(
            f"{file} is of cluster {carried.cluster_id}, and the database holds cluster {cluster}; nothing was "
            "changed: export the authority on a controller of this database"
        )
    return carried, cluster


def _read(file: Path) -> _Carried:
    try:
        if str(file) == "-":
            raw = sys.stdin.buffer.read(_MOST_BYTES)
        else:
            with file.open("rb") as opened:
                raw = opened.read(_MOST_BYTES)
        carried = msgspec.json.decode(raw, type=_Carried)
    except OSError as error:
        raise AuthorityError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        # The decoder's words name a place in the file, never what stands there.
        raise AuthorityError(
            f"{file} is none of `motorpool-controller ca export`: {error}; export it again on the first controller"
        ) from error
    known = {KEY_FILE, "ca.pem", ROTATION_FILE}
    if carried.format != _FORMAT or not {KEY_FILE, "ca.pem"} <= carried.files.keys() <= known:
        raise AuthorityError(
            f"{file} is of a form that this motorpool-controller does not know ({carried.format[:40]!r}); export it "
            "with the version that is here"
        )
    return carried
