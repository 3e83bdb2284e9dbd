"""Programs that tests use and a fresh machine may lack, by the Debian package that brings each: the one list of them.

A test names what it uses: ``@pytest.mark.needs("ip")``. Without it the test is skipped with that reason; in CI it
fails, as ``.ci/run`` installs what ``python3 tests/tools.py`` prints. Standard library only: there is no .venv then.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

CLIENTS = {
    "go": {
        "go": "golang-go",
        "protoc": "protobuf-compiler",
        "protoc-gen-go": "protoc-gen-go-1-5",
        "protoc-gen-go-grpc": "protoc-gen-go-grpc",
        "/usr/share/gocode/src/google.golang.org/grpc": "golang-google-grpc-dev",
        "/usr/share/gocode/src/google.golang.org/protobuf": "golang-github-golang-protobuf-1-5-dev",
    },
    "java": {
        "javac": "default-jdk-headless",
        "protoc": "protobuf-compiler",
        "grpc_java_plugin": "protobuf-compiler-grpc-java-plugin",
        "/usr/share/java/grpc-netty.jar": "libgrpc-java",
        "/usr/share/java/netty-handler.jar": "libnetty-java",
        "/usr/share/java/netty-tcnative.jar": "libnetty-tcnative-java",
        "/usr/share/doc/libnetty-tcnative-jni": "libnetty-tcnative-jni",
        "/usr/share/java/protobuf.jar": "libprotobuf-java",
        "/usr/share/java/perfmark-api.jar": "libperfmark-java",
        "/usr/share/java/gson.jar": "libgoogle-gson-java",
        "/usr/share/java/geronimo-annotation-1.3-spec.jar": "libgeronimo-annotation-1.3-spec-java",
    },
    "cpp": {
        "g++": "g++",
        "pkg-config": "pkg-config",
        "protoc": "protobuf-compiler",
        "grpc_cpp_plugin": "protobuf-compiler-grpc",
        "/usr/include/grpcpp/grpcpp.h": "libgrpc++-dev",
        "/usr/include/google/protobuf/message.h": "libprotobuf-dev",
    },
    "ruby": {
        "ruby": "ruby",
        "/usr/share/doc/ruby-grpc": "ruby-grpc",
        "grpc_tools_ruby_protoc": "ruby-grpc-tools",
        "protoc": "protobuf-compiler",
    },
    "buf": {"bash": "bash", "jq": "jq"},
    "typescript": {"node": "nodejs", "npm": "npm", "protoc": "protobuf-compiler"},
    "node": {"node": "nodejs", "npm": "npm"},
}
"""What the clients of ``examples/clients`` are built and run with, by their folder; a path stands for a library."""

PACKAGES = (
    {"espeak-ng": "espeak-ng", "ip": "iproute2", "pg_ctlcluster": "postgresql", "promtool": "prometheus"}
    | dict.fromkeys(("nsenter", "unshare"), "util-linux")
    | dict.fromkeys(("systemd-run", "journalctl"), "systemd")
    | {tool: package for tools in CLIENTS.values() for tool, package in tools.items()}
)


def missing_packages(tools: Iterable[str] = PACKAGES) -> list[str]:
    """Return the packages of those tools that this machine does not have."""
    return sorted({PACKAGES[tool] for tool in tools if not _is_there(tool)})


def _is_there(tool: str) -> bool:
    return Path(tool).exists() if tool.startswith("/") else shutil.which(tool) is not None


if __name__ == "__main__":
    for package in missing_packages():
        print(package)
