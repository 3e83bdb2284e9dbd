"""One engine's life below its shim: executed, logged, waited for.

The shim has three descriptors: the specification (a memory file), the instance's lock and a socket to the agent. It
waits for one byte on the socket; if the agent dies before sending it, nothing is executed. It then forks the engine
blocked, writes ``process.json``, and only then lets it exec.
"""

from __future__ import annotations

import os
import time

from motorpool_agent.runtime.shim.report import (
    LOOK_SECONDS,
    Kills,
    overwrite,
    start_ticks,
    write_exit,
    write_process,
)
from motorpool_agent.runtime.shim.rotation import READ_BYTES, Log
from motorpool_agent.runtime.shim.specification import (
    AGENT_FD,
    ATTACH,
    EXECUTED,
    FAILED,
    FIFO_NAME,
    LOCK_FD,
    SPECIFICATION_FD,
    STARTED,
    Specification,
)

_PR_SET_CHILD_SUBREAPER = 36
_EXEC_FAILED_CODE = 127


def live(directory: str) -> None:
    """Run or attach to one engine until it and all its children are gone."""
    os.chdir(directory)
    os.closerange(AGENT_FD + 1, 1 << 20)
    # The lock must not reach the engine: it says that the shim lives.
    for descriptor in (SPECIFICATION_FD, LOCK_FD, AGENT_FD):
        os.set_inheritable(descriptor, False)
    if not os.read(AGENT_FD, 1):
        return
    size = os.fstat(SPECIFICATION_FD).st_size
    specification = Specification(os.pread(SPECIFICATION_FD, size, 0))
    os.close(SPECIFICATION_FD)
    overwrite("/proc/self/comm", "motorpool-shim")
    if specification.mode == ATTACH:
        # Whose child it is not, how it ends is not told.
        kills = Kills("", 0)
        engine, fifo = specification.engine_pid, os.open(FIFO_NAME, os.O_RDONLY | os.O_NONBLOCK)
        log = Log(specification.log, specification.log_bytes, specification.log_files)
        write_process(specification, engine, specification.engine_ticks, cgroup=specification.cgroup)
        _tell(STARTED + EXECUTED)
        error = ""
    else:
        # Before anything is executed that might be killed.
        kills = Kills(specification.oom_counter, time.monotonic())
        try:
            engine, fifo, log, error = _execute(specification)
        except OSError as problem:
            # Said, not only written: a full disk is what it most likely is about.
            _tell(FAILED + f"{problem.strerror}: {problem.filename or directory}".encode("utf-8", "replace")[:1000])
            raise
    os.close(AGENT_FD)
    _watch(specification, engine, fifo, log, error, kills)


def _execute(specification: Specification) -> tuple[int, int, Log, str]:
    if os.path.lexists(FIFO_NAME):
        os.unlink(FIFO_NAME)  # noqa: PTH108
    os.mkfifo(FIFO_NAME, 0o600)
    fifo = os.open(FIFO_NAME, os.O_RDONLY | os.O_NONBLOCK)
    # The engine holds both ends, so that it survives the shim: nothing it writes meets a broken pipe.
    output = os.open(FIFO_NAME, os.O_RDWR)
    gate, release = os.pipe()
    outcome, failure = os.pipe()
    engine = os.fork()
    if engine == 0:
        os.close(release)
        _become(specification, gate, output, failure)
    for descriptor in (output, gate, failure):
        os.close(descriptor)
    log = Log(specification.log, specification.log_bytes, specification.log_files)
    cgroup = specification.cgroup if _join(specification.cgroup, engine) else ""
    _adopt_orphans()
    write_process(specification, engine, start_ticks(engine), cgroup=cgroup)
    _tell(STARTED)
    os.write(release, b"g")
    os.close(release)
    # Closed by a successful exec; else it holds why exec failed.
    error = os.read(outcome, READ_BYTES).decode("utf-8", "replace")
    os.close(outcome)
    if not error:
        _tell(EXECUTED)
    return engine, fifo, log, error


def _become(specification: Specification, gate: int, output: int, failure: int) -> None:
    """Turn the forked child into the engine, once the shim says so."""
    try:
        os.setsid()
        import signal  # noqa: PLC0415  # meanwhile the shim writes

        # The interpreter ignores these; what it executes must not.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(specification.working_directory)
        if os.read(gate, 1):
            os.execvpe(specification.argv[0], specification.argv, specification.environment)
    except OSError as error:
        name = error.filename or specification.argv[0]
        os.write(failure, f"{error.strerror}: {name}"[:4000].encode("utf-8", "surrogateescape"))
    finally:
        os._exit(_EXEC_FAILED_CODE)


def _watch(specification: Specification, engine: int, fifo: int, log: Log, error: str, kills: Kills) -> None:
    """Keep the log until the engine is gone, write its exit status, and stay for its children's sake."""
    import select  # noqa: PLC0415  # the engine runs already
    import signal  # noqa: PLC0415

    wake, woken = os.pipe()
    for descriptor in (wake, woken):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    # A shutdown tells every process to end; this one ends after its engine.
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    poll = select.poll()
    poll.register(fifo, select.POLLIN)
    poll.register(wake, select.POLLIN)
    gone = _gone(specification, engine) if specification.mode == ATTACH else -1
    if gone >= 0:
        poll.register(gone, select.POLLIN)
    finished = False
    # What ended before its signal was heeded is found by the first look.
    os.write(woken, b"!")
    while True:
        ready = {descriptor for descriptor, _ in poll.poll(LOOK_SECONDS * 1000)}
        kills.look(time.monotonic())
        if wake in ready:
            os.read(wake, 4096)
        if fifo in ready and not log.copy(fifo):
            poll.unregister(fifo)
        if gone in ready:
            # Somebody else's child: how it ended is not told.
            log.drain(fifo)
            write_exit(specification, None, "")
            return
        while gone < 0:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                if finished:
                    return
                break
            if pid == 0:
                break
            if pid == engine:
                log.drain(fifo)
                write_exit(specification, status, error, kills)
                finished = True


def _gone(specification: Specification, engine: int) -> int:
    """Return a descriptor that becomes readable when the engine has ended, at once if it has."""
    try:
        descriptor = os.pidfd_open(engine)
        if start_ticks(engine) == specification.engine_ticks:
            return descriptor
        os.close(descriptor)
    except ProcessLookupError:
        pass
    gone, writer = os.pipe()
    os.close(writer)
    return gone


def _join(cgroup: str, pid: int) -> bool:
    return bool(cgroup) and overwrite(f"{cgroup}/cgroup.procs", str(pid))


def _adopt_orphans() -> None:
    """Have the kernel hand orphaned descendants to this process, so that none gets away."""
    import ctypes  # noqa: PLC0415

    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _tell(message: bytes) -> None:
    try:
        os.write(AGENT_FD, message)
    except OSError:
        return  # The agent is gone, and its successor reads the files.
