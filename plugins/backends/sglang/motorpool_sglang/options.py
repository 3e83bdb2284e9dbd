"""The options of ``sglang serve`` that Motorpool knows, with what scheduling takes from them.

Names, aliases and kinds are those of the parser of SGLang 0.5.23 (``sglang/srt/server_args.py`` and
``sglang/srt/arg_groups/fields`` of its wheel); https://docs.sglang.io/advanced_features/server_arguments.html says what
they mean. Options that it lacks, and its older releases had, are passed on as they were written.
"""

from __future__ import annotations

from collections.abc import Iterator

from motorpool_sdk import Option, OptionKind


def _integers(*names: str) -> Iterator[Option]:
    return (Option(name=name, kind=OptionKind.INTEGER) for name in names)


def _numbers(*names: str) -> Iterator[Option]:
    return (Option(name=name, kind=OptionKind.NUMBER) for name in names)


def _strings(*names: str) -> Iterator[Option]:
    return (Option(name=name) for name in names)


def _flags(*names: str) -> Iterator[Option]:
    return (Option(name=name, kind=OptionKind.FLAG) for name in names)


def _owned(*names: str, kind: OptionKind = OptionKind.STRING) -> Iterator[Option]:
    return (Option(name=name, kind=kind, system_owned=True) for name in names)


_FLAG, _INTEGER, _NUMBER, _JSON = OptionKind.FLAG, OptionKind.INTEGER, OptionKind.NUMBER, OptionKind.JSON

OPTIONS = (
    # What Motorpool decides: the model, the port and who may ask there, the devices, the members of a gang.
    Option(name="model-path", aliases=("model",), system_owned=True),
    *_owned("host", "served-model-name", "api-key", "admin-api-key", "config", "fastapi-root-path", "download-dir"),
    *_owned("port", "grpc-port", "nccl-port", "base-gpu-id", "gpu-id-step", kind=_INTEGER),
    *_owned("ssl-keyfile", "ssl-certfile", "ssl-ca-certs", "ssl-keyfile-password", "device", "file-storage-path"),
    *_owned("grpc-mode", "smg-grpc-mode", "use-ray", kind=_FLAG),
    Option(name="dist-init-addr", aliases=("nccl-init-addr",), system_owned=True),
    *_owned("nnodes", "node-rank", kind=_INTEGER),
    # What would let whoever deploys or asks run code of their own, or read and write files on the node.
    *_owned("enable-custom-logit-processor", "enable-ssl-refresh", kind=_FLAG),
    *_owned("custom-weight-loader", "forward-hooks", "tool-server", "crash-dump-folder", "sidecar", "sidecar-args"),
    *_owned("export-metrics-to-file-dir", "debug-tensor-dump-output-folder", "debug-tensor-dump-input-file"),
    # What roles of a disaggregated service would be told by; there are none of these yet.
    *_owned("disaggregation-mode", "disaggregation-ib-device", "encoder-urls", "encoder-register-urls"),
    *_owned("disaggregation-bootstrap-port", "encoder-bootstrap-port", kind=_INTEGER),
    *_owned("encoder-only", kind=_FLAG),
    # What memory is planned with.
    Option(name="context-length", kind=_INTEGER, meaning="context_length", least=1),
    Option(name="mem-fraction-static", kind=_NUMBER, meaning="memory_fraction", above=0, most=1),
    Option(name="tp-size", aliases=("tensor-parallel-size", "tp"), kind=_INTEGER, meaning="tensor_parallel", least=1),
    Option(
        name="pp-size",
        aliases=("pipeline-parallel-size", "pp"),
        kind=_INTEGER,
        meaning="pipeline_parallel",
        least=1,
        excludes=("speculative-algorithm", "enable-mixed-chunk"),
    ),
    Option(name="dp-size", aliases=("data-parallel-size", "dp"), kind=_INTEGER, meaning="data_parallel", least=1),
    Option(name="ep-size", aliases=("expert-parallel-size", "ep"), kind=_INTEGER, least=1),
    Option(name="dcp-size", aliases=("decode-context-parallel-size",), kind=_INTEGER, least=1),
    Option(name="attn-cp-size", aliases=("attention-context-parallel-size",), kind=_INTEGER, least=1),
    Option(name="moe-dp-size", aliases=("moe-data-parallel-size",), kind=_INTEGER, least=1),
    *_flags("enable-dp-attention", "enable-dp-lm-head"),
    *_integers("chunked-prefill-size", "cuda-graph-max-bs", "cuda-graph-max-bs-decode", "max-running-requests"),
    *_integers("max-queued-requests", "page-size", "cpu-offload-gb", "moe-dense-tp-size"),
    *_strings("max-prefill-tokens", "max-total-tokens", "kv-cache-dtype", "load-balance-method"),
    Option(name="dtype", choices=("auto", "half", "float16", "bfloat16", "float", "float32")),
    *_strings("quantization", "load-format", "model-impl", "revision"),
    *_numbers("schedule-conservativeness", "swa-full-tokens-ratio"),
    Option(name="json-model-override-args", kind=_JSON, meaning="config_overrides"),
    *_flags("disable-radix-cache", "disable-cuda-graph", "disable-overlap-schedule", "enable-torch-compile"),
    Option(name="enable-mixed-chunk", kind=_FLAG, excludes=("speculative-algorithm",)),
    *_integers("num-continuous-decode-steps", "torch-compile-max-bs", "random-seed"),
    # Older releases had these two; 0.5.23 has backends by phase in their place.
    *_flags("enable-piecewise-cuda-graph"),
    *_integers("piecewise-cuda-graph-max-tokens"),
    # A cache that overflows into host memory.
    Option(name="enable-hierarchical-cache", aliases=("enable-hicache",), kind=_FLAG),
    Option(name="hicache-size", kind=_INTEGER, least=0),
    Option(name="hicache-ratio", kind=_NUMBER, above=0),
    Option(name="hicache-write-policy", choices=("write_back", "write_through", "write_through_selective")),
    Option(name="hicache-io-backend", choices=("direct", "kernel", "kernel_ascend")),
    *_strings("hicache-mem-layout", "hicache-storage-backend", "hicache-storage-prefetch-policy"),
    # Guessing tokens ahead.
    *_strings("speculative-algorithm", "speculative-draft-model-revision", "speculative-draft-load-format"),
    Option(name="speculative-draft-model-path", aliases=("speculative-draft-model",)),
    *_strings("speculative-attention-mode", "speculative-draft-model-quantization", "speculative-ngram-match-type"),
    *_integers("speculative-num-steps", "speculative-eagle-topk", "speculative-num-draft-tokens"),
    *_integers("speculative-ngram-max-trie-depth", "speculative-ngram-min-bfs-breadth"),
    *_integers("speculative-ngram-max-bfs-breadth", "speculative-ngram-capacity"),
    *_numbers("speculative-accept-threshold-single", "speculative-accept-threshold-acc"),
    # Adapters.
    *_flags("enable-lora"),
    *_strings("lora-paths", "lora-target-modules", "lora-backend", "lora-eviction-policy"),
    *_integers("max-lora-rank", "max-loaded-loras", "max-loras-per-batch"),
    # What is loaded, and how it runs.
    *_flags("trust-remote-code", "is-embedding", "enable-multimodal", "skip-tokenizer-init", "language-only"),
    *_flags("language-model-only", "enable-two-batch-overlap", "enable-single-batch-overlap", "enable-eplb"),
    *_flags("disable-custom-all-reduce", "enable-p2p-check", "enable-deterministic-inference"),
    *_strings("tokenizer-path", "tokenizer-mode", "attention-backend", "decode-attention-backend"),
    *_strings("prefill-attention-backend", "mm-attention-backend", "sampling-backend", "grammar-backend"),
    *_strings("moe-a2a-backend", "moe-runner-backend", "deepep-mode", "schedule-policy", "model-loader-extra-config"),
    *_integers("tokenizer-worker-num"),
    *_numbers("watchdog-timeout"),
    Option(name="mm-process-config", kind=_JSON),
    Option(name="limit-mm-data-per-request", kind=_JSON),
    Option(name="preferred-sampling-params", kind=_JSON),
    Option(name="default-chat-template-kwargs", kind=_JSON),
    Option(name="extra-metric-labels", kind=_JSON),
    # What the API does.
    *_strings("chat-template", "completion-template", "reasoning-parser", "tool-call-parser", "sampling-defaults"),
    *_strings("log-level", "log-level-http", "uvicorn-access-log-exclude-prefixes", "otlp-traces-endpoint"),
    *_flags("enable-metrics", "enable-cache-report", "log-requests", "enable-priority-scheduling"),
    *_flags("trust-request-chat-template", "allow-auto-truncate", "incremental-streaming-output", "enable-trace"),
    *_integers("log-requests-level", "stream-interval", "decode-log-interval"),
)
