"""A PostgreSQL server of the tests' own, on a Unix socket and loopback: made when it is wanted, gone at their end."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psycopg

from motorpool_controller.config import PostgresUrl

OWN_PORT = 5432
USER, GUARDED = "motorpool", "guarded"
"""Whom the server takes without a password, and whom with one."""
SERVER_OPTIONS = "-c listen_addresses=127.0.0.1 -c max_connections=200"


def programs() -> Path | None:
    """Return the folder of the newest PostgreSQL that Debian installed, or of the one on the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: float(path.parts[-3]))
    here = shutil.which("pg_ctl")
    return found[-1].parent if found else Path(here).parent if here else None


class PostgresServer:
    """One cluster. The server refuses to run as root: then it is the user ``postgres``.

    Processes are killed in tests, machines are not: without ``fsync`` nothing that a test could see is lost. With
    ``space``, a network namespace, it listens there, on all addresses and PostgreSQL's own port, to everybody.
    """

    def __init__(self, *, fsync: bool = False, space: str = "") -> None:
        self._space = space
        self._fsync = "on" if fsync else "off"
        folder = programs()
        assert folder is not None
        self._programs = folder
        self._owner = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        # Not below pytest's folder, which nobody else may enter.
        self.folder = Path(tempfile.mkdtemp(prefix="motorpool-pg-"))
        if self._owner is not None:
            os.chown(self.folder, self._owner.pw_uid, self._owner.pw_gid)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = OWN_PORT if space else free.getsockname()[1]
        self._numbers = itertools.count()
        self._run("initdb", "-D", str(self.folder / "data"), "-A", "trust", "-U", USER, "--no-sync", "-E", "UTF8")
        rules = self.folder / "data" / "pg_hba.conf"
        everybody = "host all all all trust\n" if space else ""
        rules.write_text(f"host all {GUARDED} 127.0.0.1/32 scram-sha-256\n{everybody}{rules.read_text()}")
        self.start()

    def start(self) -> None:
        """Start the server, and return when it answers."""
        everywhere = " -c listen_addresses=*" if self._space else ""
        options = (
            f"{SERVER_OPTIONS}{everywhere} -c fsync={self._fsync} -c port={self.port} "
            f"-c unix_socket_directories={self.folder}"
        )
        self._ctl("start", "-w", "-o", options, "-l", str(self.folder / "log"))

    def stop(self, mode: str = "fast") -> None:
        """End it: ``immediate`` as if its machine had lost power."""
        self._ctl("stop", "-w", "-m", mode)

    def close(self) -> None:
        """End it, and leave nothing behind."""
        self.stop("immediate")
        shutil.rmtree(self.folder)

    def new(self) -> PostgresUrl:
        """Return an empty database."""
        name = f"test{next(self._numbers)}"
        with psycopg.connect(self.url("postgres").url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def local_url(self, name: str) -> PostgresUrl:
        """Return where a database is by the server's socket, which is in no network."""
        return PostgresUrl(f"postgresql://{USER}@/{name}?host={self.folder}&port={self.port}")

    def url(self, name: str, port: int | None = None) -> PostgresUrl:
        """Return where a database is."""
        return PostgresUrl(f"postgresql://{USER}@127.0.0.1:{port or self.port}/{name}")

    def _ctl(self, what: str, *arguments: str) -> None:
        self._run("pg_ctl", what, "-D", str(self.folder / "data"), *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        command: Sequence[str] = [str(self._programs / program), *arguments]
        owner = self._owner
        if self._space and owner is not None:
            # Who enters a namespace is root.
            user = (f"--setuid={owner.pw_uid}", f"--setgid={owner.pw_gid}")
            command, owner = ["nsenter", f"--net=/run/netns/{self._space}", *user, *command], None
        # A server keeps what it inherits: it gets no pipe of ours.
        with (self.folder.parent / f"{self.folder.name}.out").open("w+") as out:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd="/",
                check=False,
                user=None if owner is None else owner.pw_uid,
                group=None if owner is None else owner.pw_gid,
                extra_groups=None if owner is None else [],
            )
            out.seek(0)
            said = out.read()
        Path(out.name).unlink()
        assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}: {said}"
