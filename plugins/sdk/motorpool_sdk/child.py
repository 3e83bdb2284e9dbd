"""A plugin's own process: ``python -m motorpool_sdk.child <package> <module> --fd N [--path FOLDER]``.

It loads the plugin when asked to, serves calls one by one from the socket at descriptor N, and ends when the other end
closes. What the plugin prints goes to standard error.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence

import msgspec

from motorpool_sdk import wire
from motorpool_sdk.accelerator import AcceleratorPlugin, Device, DeviceError
from motorpool_sdk.backend import BackendPlugin, LaunchRequest
from motorpool_sdk.errors import WireError
from motorpool_sdk.loading import load_accelerator, load_backend
from motorpool_sdk.manifest import Kind

_PR_SET_PDEATHSIG = 1
_MOST_ERROR_CHARACTERS = 2000

Call = Callable[[msgspec.Raw], object]


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until the host closes its end."""
    parser = argparse.ArgumentParser(prog="motorpool_sdk.child", description=__doc__)
    parser.add_argument("package", help="the plugin's package, for messages")
    parser.add_argument("module", help="the module with the hooks")
    parser.add_argument("--fd", type=int, required=True, help="descriptor of the socket to serve")
    parser.add_argument("--path", default="", help="folder to find the package in, when sys.path has none")
    options = parser.parse_args(arguments)
    _die_with_parent()
    faulthandler.enable()  # A segfault leaves a traceback on standard error.
    # The plugin's prints, C code's too, must not fill a pipe that nobody reads.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if options.path and options.path not in sys.path:
        sys.path.append(options.path)
    # Closed by the kernel: closing it here would look like the host's end to the reader, and hide the exit status.
    connection = socket.socket(fileno=options.fd)
    connection.set_inheritable(False)
    _serve(connection, options.module)


def _calls(module: str, kind: Kind) -> Mapping[str, Call]:
    if kind is Kind.BACKEND:
        return _backend_calls(load_backend(module))
    return _accelerator_calls(load_accelerator(module))


def _backend_calls(plugin: BackendPlugin) -> Mapping[str, Call]:
    return {
        "profile": lambda _body: plugin.profile(),
        "check": lambda body: tuple(plugin.check(wire.decode(body, LaunchRequest))),
        "launch": lambda body: plugin.launch(wire.decode(body, LaunchRequest)),
    }


def _accelerator_calls(plugin: AcceleratorPlugin) -> Mapping[str, Call]:
    def ids(body: msgspec.Raw) -> tuple[str, ...]:
        return wire.decode(body, tuple[str, ...])

    return {
        "fingerprint": lambda _body: _fingerprint(plugin.fingerprint()),
        "sample": lambda body: tuple(plugin.sample(ids(body))),
        "health": lambda body: plugin.health(ids(body)),
        "expose": lambda body: plugin.expose(ids(body)),
        "sources": lambda _body: tuple(getattr(plugin, "sources", tuple)()),
    }


def _fingerprint(reported: Sequence[Device | DeviceError]) -> wire.Fingerprint:
    return wire.Fingerprint(
        devices=tuple(each for each in reported if not isinstance(each, DeviceError)),
        errors=tuple(each for each in reported if isinstance(each, DeviceError)),
    )


def _serve(connection: socket.socket, module: str) -> None:
    frames: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(connection, frames), daemon=True).start()
    calls: Mapping[str, Call] = {}
    while True:
        request = wire.decode(frames.get(), wire.Request)
        if request.method == "introduce":
            calls, response = _introduced(request, module)
        else:
            response = _answered(request, calls)
        connection.sendall(_framed(response))


def _read(connection: socket.socket, frames: queue.SimpleQueue[bytes]) -> None:
    """Read on while the plugin works, so that the process ends with its host even when the plugin hangs."""
    try:
        while (content := wire.receive(connection)) is not None:
            frames.put(content)
    finally:
        os._exit(0)


def _introduced(request: wire.Request, module: str) -> tuple[Mapping[str, Call], wire.Response]:
    try:
        calls = _calls(module, Kind(wire.decode(request.body, wire.Introduction).kind))
    except Exception as error:  # noqa: BLE001  # foreign code: an import may raise anything
        traceback.print_exc()
        return {}, wire.Response(id=request.id, error=_sentence(error))
    return calls, wire.Response(id=request.id, result=msgspec.Raw(wire.encode(sorted(calls))))


def _answered(request: wire.Request, calls: Mapping[str, Call]) -> wire.Response:
    call = calls.get(request.method)
    if call is None:
        return wire.Response(id=request.id, error=f"the plugin has no method {request.method!r}")
    if time.monotonic() >= request.deadline:
        return wire.Response(id=request.id, error=f"the deadline of {request.method!r} had passed before its turn")
    try:
        return wire.Response(id=request.id, result=msgspec.Raw(wire.encode(call(request.body))))
    except Exception as error:  # noqa: BLE001  # foreign code: a plugin may raise anything
        traceback.print_exc()
        return wire.Response(id=request.id, error=_sentence(error))


def _framed(response: wire.Response) -> bytes:
    try:
        return wire.frame(response)
    except WireError as error:
        return wire.frame(wire.Response(id=response.id, error=str(error)))


def _sentence(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}".encode(errors="replace").decode()
    return text[:_MOST_ERROR_CHARACTERS]


def _die_with_parent() -> None:
    """Ask the kernel for a KILL when the host dies: a plugin that hangs in C holds the reader thread up as well."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    main()
