"""A tiny HTTP server that behaves as it is told: what the tests run as an engine.

``engine.py ADDRESS PORT [--option[=value]]…``
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time


def main() -> None:
    address, port = sys.argv[1], int(sys.argv[2])
    options = dict(part[2:].partition("=")[::2] for part in sys.argv[3:])
    print(f"engine {os.getpid()} on {port}", flush=True)
    if "environment" in options:
        print(*(f"{name}={value}" for name, value in sorted(os.environ.items())), sep="\n", flush=True)
    for node in options.get("devices", "").split(",") if "devices" in options else ():
        print(node, looked_at(node), flush=True)
    for number in range(int(options.get("chatter", "0"))):
        print(f"line {number} {'x' * int(options.get('width', '0'))}")
    sys.stdout.flush()
    if "exit" in options:
        sys.exit(int(options["exit"]))
    if "abort" in options:
        os.kill(os.getpid(), signal.SIGABRT)
    if "ignore-term" in options:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "stray" in options:
        stray(options["stray"])
    _eaten = b"x" * (int(options.get("eat", "0")) << 20)
    listener = socket.create_server((address, port))
    if options.get("foreground") == "busy":
        time.sleep(3600)
    while True:
        connection, _ = listener.accept()
        with connection:
            path = connection.recv(4096).split(b" ")[1:2]
            if path == [b"/say"]:
                print("said", flush=True)
            waits = "ready-file" in options and not os.path.exists(options["ready-file"])  # noqa: PTH110  # as below
            status = "503 Loading" if waits or "never-ready" in options else "200 OK"
            if path == [b"/infer"] and os.path.exists(options.get("broken", "")):  # noqa: PTH110  # -I -S: it starts fast
                status = "500 Broken"
            body = f'{{"data":[{{"id":"{options["models"]}"}}]}}' if path == [b"/v1/models"] else ""
            head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            connection.sendall((head + body).encode())


def looked_at(path: str) -> str:
    """Say what a device node is and gives, or why not."""
    try:
        descriptor = os.open(path, os.O_RDWR)
        number = os.fstat(descriptor).st_rdev
        content = os.read(descriptor, 4)
    except OSError as error:
        return error.strerror or ""
    return f"{os.major(number)}:{os.minor(number)} gives {content.hex()}"


def stray(file: str) -> None:
    """Leave a grandchild in a session of its own, which ignores SIGTERM."""
    from pathlib import Path

    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            Path(file + ".new").write_text(str(os.getpid()), encoding="ascii")
            Path(file + ".new").rename(file)
            time.sleep(3600)
        os._exit(0)


main()
