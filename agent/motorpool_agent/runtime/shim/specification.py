"""What the agent and the shim know of each other: descriptors, names, words."""

from __future__ import annotations

SPECIFICATION_FD = 3
LOCK_FD = 4
AGENT_FD = 5

EXEC = "exec"
ATTACH = "attach"

STARTED = b"s"
EXECUTED = b"x"
FAILED = b"f"

FIFO_NAME = "log.fifo"
PROCESS_NAME = "process.json"
EXIT_NAME = "exit.json"


class Specification:
    """What the agent wants executed, or attached to: fields separated by NUL, which none of them can hold."""

    def __init__(self, content: bytes) -> None:
        fields = content.decode("utf-8", "surrogateescape").split("\0")
        self.mode = fields[0]
        self.run = int(fields[1])
        self.boot_id = fields[2]
        self.cgroup = fields[3]
        self.oom_counter = fields[4]
        self.working_directory = fields[5]
        self.log = fields[6]
        self.log_bytes = int(fields[7])
        self.log_files = int(fields[8])
        self.engine_pid = int(fields[9])
        self.engine_ticks = int(fields[10])
        count = int(fields[11])
        self.argv = fields[12 : 12 + count]
        self.environment = dict(field.split("=", 1) for field in fields[12 + count :] if field)
