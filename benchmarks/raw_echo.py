"""A bidirectional echo and nothing else: what grpc.aio takes for a message over mutual TLS, to compare a session with.

``python raw_echo.py KEY_AND_CERTIFICATE.pem AUTHORITY.pem`` prints its port and serves until it is terminated.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

METHOD = "/motorpool.benchmarks.Raw/Echo"


async def serve(pem: bytes, authority: bytes) -> None:
    """Serve on loopback until SIGTERM."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(_echo)
    service, method = METHOD.strip("/").split("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    credentials = grpc.ssl_server_credentials(
        [(pem, pem + authority)], root_certificates=authority, require_client_auth=True
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    print(port, flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(0)


@contextmanager
def running_echo(controller_dir: Path) -> Iterator[tuple[int, str]]:
    """Run the echo with a controller's certificate; yield its pid and where it answers."""
    command = [sys.executable, __file__, *(str(controller_dir / name) for name in ("server.pem", "ca.pem"))]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None  # a pipe was asked for
            port = process.stdout.readline().strip()
            if not port:
                raise ChildProcessError("the raw echo did not start")
            yield process.pid, f"127.0.0.1:{port}"
        finally:
            process.terminate()


async def _echo(
    requests: AsyncIterator[bytes], _context: grpc.aio.ServicerContext[bytes, bytes]
) -> AsyncIterator[bytes]:
    async for message in requests:
        yield message


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]).read_bytes()))
