"""llama.cpp's own HTTP server from the pip package ``xllamacpp``, under llama-server's own option names.

This one file is copied into the engine's environment and run by its Python; it needs xllamacpp and the standard
library. The API key comes from the environment variable LLAMA_API_KEY, as llama-server's does.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

FAILED = 1
MISUSED = 2
_GGUF_MAGIC = b"GGUF"


@dataclass(frozen=True, slots=True)
class Known:
    """One option: its names, what its value becomes, and the field of xllamacpp's CommonParams it goes to.

    ``value`` None makes a flag, which writes ``flag``. ``member`` is the prefix of the enumeration's members.
    """

    name: str
    aliases: tuple[str, ...]
    field: str
    value: Callable[[str], object] | None = None
    flag: bool = True
    enumeration: str = ""
    member: str = ""


def _switch(text: str) -> str:
    return {"on": "ENABLED", "off": "DISABLED"}.get(text.lower(), text.upper())


def _reasoning(text: str) -> str:
    return text.upper().replace("-", "_")


KNOWN = (
    Known("ctx-size", ("c",), "n_ctx", int),
    Known("parallel", ("np",), "n_parallel", int),
    Known("threads", ("t",), "cpuparams.n_threads", int),
    Known("threads-batch", ("tb",), "cpuparams_batch.n_threads", int),
    Known("threads-http", (), "n_threads_http", int),
    Known("n-gpu-layers", ("gpu-layers", "ngl"), "n_gpu_layers", int),
    Known("batch-size", ("b",), "n_batch", int),
    Known("ubatch-size", ("ub",), "n_ubatch", int),
    Known("n-predict", ("predict", "n"), "n_predict", int),
    Known("keep", (), "n_keep", int),
    Known("cache-ram", ("cram",), "cache_ram_mib", int),
    Known("cache-reuse", (), "n_cache_reuse", int),
    Known("cache-type-k", ("ctk",), "cache_type_k", str.upper, True, "ggml_type", "GGML_TYPE_"),
    Known("cache-type-v", ("ctv",), "cache_type_v", str.upper, True, "ggml_type", "GGML_TYPE_"),
    Known("flash-attn", ("fa",), "flash_attn_type", _switch, True, "llama_flash_attn_type", "LLAMA_FLASH_ATTN_TYPE_"),
    Known("cache-prompt", (), "cache_prompt"),
    Known("no-cache-prompt", (), "cache_prompt", None, False),
    Known("cont-batching", ("cb",), "cont_batching"),
    Known("no-cont-batching", ("nocb",), "cont_batching", None, False),
    Known("context-shift", (), "ctx_shift"),
    Known("no-context-shift", (), "ctx_shift", None, False),
    Known("kv-unified", ("kvu",), "kv_unified"),
    Known("no-kv-unified", ("no-kvu",), "kv_unified", None, False),
    Known("swa-full", (), "swa_full"),
    Known("load-mode", ("lm",), "load_mode", str.upper, True, "llama_load_mode", "LLAMA_LOAD_MODE_"),
    Known("warmup", (), "warmup"),
    Known("no-warmup", (), "warmup", None, False),
    Known("check-tensors", (), "check_tensors"),
    Known("embeddings", ("embedding",), "embedding"),
    Known("reranking", ("rerank",), "embedding"),
    Known("pooling", (), "pooling_type", str.upper, True, "llama_pooling_type", "LLAMA_POOLING_TYPE_"),
    Known("embd-normalize", (), "embd_normalize", int),
    Known("jinja", (), "use_jinja"),
    Known("no-jinja", (), "use_jinja", None, False),
    Known("chat-template", (), "chat_template", str),
    Known(
        "reasoning-format",
        (),
        "reasoning_format",
        _reasoning,
        True,
        "common_reasoning_format",
        "COMMON_REASONING_FORMAT_",
    ),
    Known("mmproj", ("mm",), "mmproj.path", str),
    Known("no-mmproj", ("no-mmproj-auto",), "no_mmproj"),
    Known("no-mmproj-offload", (), "mmproj_use_gpu", None, False),
    Known("slots", (), "endpoint_slots"),
    Known("no-slots", (), "endpoint_slots", None, False),
    Known("props", (), "endpoint_props"),
    Known("timeout", ("to",), "timeout_read", int),
    Known("rope-freq-base", (), "rope_freq_base", float),
    Known("rope-freq-scale", (), "rope_freq_scale", float),
    Known("seed", ("s",), "sampling.seed", int),
    Known("temperature", ("temp",), "sampling.temp", float),
    Known("top-k", (), "sampling.top_k", int),
    Known("top-p", (), "sampling.top_p", float),
    Known("min-p", (), "sampling.min_p", float),
    Known("repeat-penalty", (), "sampling.penalty_repeat", float),
    Known("verbosity", ("lv", "log-verbosity"), "verbosity", int),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until TERM or INT; on failure the last line on standard error says why."""
    options = _parser().parse_args(arguments)
    reason = _unreadable(options.model) or _unusable(options.host, options.port)
    if reason:
        _stop(FAILED, reason)
    # Until the model stands, llama.cpp holds the interpreter: no handler of ours would run, so TERM ends us at once.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    # The engine's environment has it; whoever only reads KNOWN need not.
    import xllamacpp  # type: ignore[import-not-found]  # noqa: PLC0415

    try:
        parameters = _parameters(xllamacpp, options)
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        _stop(MISUSED, f"an option has a value that llama.cpp does not take: {error}")
    errors = _Errors()
    try:
        server = xllamacpp.Server(parameters)
    except RuntimeError as error:
        _stop(FAILED, f"llama.cpp could not serve {options.model}: {errors.first() or error}")
    errors.first()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    print(f"launcher: serving {options.model} at {server.listening_address}", flush=True)  # noqa: T201
    stopping.wait()
    print("launcher: stopped", flush=True)  # noqa: T201
    # Not by falling off the end: llama.cpp would first finish the answers that are under way.
    os._exit(0)


class _Errors:
    """The first error that llama.cpp logs, told apart from the log by a process that passes the log on.

    A thread could not do it: llama.cpp holds the interpreter while it loads.
    """

    def __init__(self) -> None:
        log_end, write_end = os.pipe()
        self._result, result_end = os.pipe()
        self._helper = os.fork()
        if self._helper == 0:
            os.close(write_end)
            os.close(self._result)
            _pass_on(log_end, result_end)
        os.close(log_end)
        os.close(result_end)
        self._stderr = os.dup(2)
        os.dup2(write_end, 2)
        os.close(write_end)

    def first(self) -> str:
        """Give the log back to standard error and return the first error so far, empty when there was none."""
        os.dup2(self._stderr, 2)
        os.close(self._stderr)
        os.waitpid(self._helper, 0)
        with os.fdopen(self._result, encoding="utf-8", errors="replace") as result:
            return result.read().strip()


def _pass_on(log_end: int, result_end: int) -> NoReturn:
    """Copy the log to standard error as it comes; afterwards tell the text of its first line of level E."""
    first = b""
    rest = b""
    while content := os.read(log_end, 65536):
        os.write(2, content)
        *lines, rest = (rest + content).split(b"\n")
        for line in lines:
            _time, level, text = [*line.split(maxsplit=2), b"", b"", b""][:3]
            if level == b"E" and not first:
                first = text
    os.write(result_end, first[:2000])
    os._exit(0)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        _stop(MISUSED, message)

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]  # one shape is enough
        options, unknown = self.parse_known_args(args, namespace)
        if unknown:
            names = " ".join(f"--{known.name}" for known in KNOWN)
            self.error(
                f"unknown option {unknown[0]}; this launcher of xllamacpp knows {names}; "
                "for others install llama-server on the node"
            )
        return options


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="llama_server", allow_abbrev=False, description=__doc__)
    parser.add_argument("--model", "-m", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--alias", "-a", default="")
    parser.add_argument("--metrics", action="store_true")
    for known in KNOWN:
        names = [f"--{known.name}", *(f"-{alias}" for alias in known.aliases)]
        # llama-server takes its longer aliases with two dashes.
        names += [f"--{alias}" for alias in known.aliases if len(alias) > 3]
        if known.value is None:
            parser.add_argument(*names, dest=known.name, action="store_true", default=None)
        else:
            parser.add_argument(*names, dest=known.name, type=known.value)
    return parser


def _parameters(xllamacpp: Any, options: argparse.Namespace) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(options.model)
    parameters.hostnames = [options.host]
    parameters.port = options.port
    parameters.endpoint_metrics = options.metrics
    parameters.offline = True
    if options.alias:
        parameters.model_alias = {options.alias}
    if api_key := os.environ.get("LLAMA_API_KEY"):
        parameters.api_keys = [api_key]
    for known in KNOWN:
        value = getattr(options, known.name)
        if value is None:
            continue
        *path, last = known.field.split(".")
        owner = parameters
        for name in path:
            owner = getattr(owner, name)
        setattr(owner, last, known.flag if known.value is None else _value(xllamacpp, known, value))
    if options.threads is not None and getattr(options, "threads-batch") is None:
        parameters.cpuparams_batch.n_threads = options.threads
    if options.reranking:
        parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    return parameters


def _value(xllamacpp: Any, known: Known, value: Any) -> Any:
    if not known.enumeration:
        return value
    members = getattr(xllamacpp, known.enumeration).__members__
    try:
        return members[f"{known.member}{value}"]
    except KeyError:
        choices = ", ".join(sorted(name.removeprefix(known.member).lower() for name in members))
        raise ValueError(f"--{known.name} {value.lower()}; say one of {choices}") from None


def _unreadable(model: Path) -> str:
    try:
        with model.open("rb") as file:
            magic = file.read(len(_GGUF_MAGIC))
    except OSError as error:
        return f"model {model} cannot be read: {error.strerror}"
    return "" if magic == _GGUF_MAGIC else f"model {model} is no GGUF file"


def _unusable(host: str, port: int) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _name, address in found[:1]:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except (OSError, OverflowError) as error:
        return f"cannot listen at {host} port {port}: {getattr(error, 'strerror', None) or error}"
    return ""


def _stop(status: int, reason: str) -> NoReturn:
    print(f"launcher: {reason}", file=sys.stderr, flush=True)  # noqa: T201
    sys.exit(status)


if __name__ == "__main__":
    main()
