"""The parameters of MindIE, and the key of its configuration file that each becomes.

MindIE has no arguments. Names, defaults and ranges are those that the product which moved here gave its users (seed
003, and B8.1 and B14.10 of the scheduling rules); keys and their ranges are the manual's, "Configuration Parameters
(Service-Specific)": https://www.hiascend.com/document/detail/en/mindie/230/LLMframe/llmdev/mindie_service0285.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from motorpool_sdk import Option, OptionKind


class Section(StrEnum):
    """Where in the configuration file a key stands; ``OTHER`` is not a key by itself."""

    SERVER = "server"
    DEPLOY = "deploy"
    MODEL = "model"
    SCHEDULE = "schedule"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Setting:
    """A parameter and where it goes."""

    option: Option
    section: Section
    key: str = ""


_FLAG, _INTEGER, _NUMBER, _JSON = OptionKind.FLAG, OptionKind.INTEGER, OptionKind.NUMBER, OptionKind.JSON
_SERVER, _DEPLOY, _MODEL, _SCHEDULE = Section.SERVER, Section.DEPLOY, Section.MODEL, Section.SCHEDULE

# Each of these is a way of its own to plan a batch, and MindIE takes one of them; none goes with stretched positions.
_PLANS = (
    "enable-split",
    "enable-memory-decoding",
    "enable-lookahead",
    "enable-multi-token-prediction",
    "enable-prefix-caching",
)


def _integer(
    section: Section, name: str, key: str, least: float, most: float | None = None, default: str = ""
) -> Setting:
    return Setting(Option(name=name, kind=_INTEGER, least=least, most=most, default=default), section, key)


def _plan(name: str) -> Setting:
    excludes = (*(each for each in _PLANS if each != name), "rope-scaling")
    return Setting(Option(name=name, kind=_FLAG, excludes=excludes), Section.OTHER)


def _size(name: str, alias: str, key: str, meaning: str = "", *, power: bool = True) -> Setting:
    option = Option(name=name, aliases=(alias,), kind=_INTEGER, meaning=meaning, power_of_two=power, least=1)
    return Setting(option, _MODEL, key)


def _policy(name: str, key: str) -> Setting:
    # 0 first come, first served; 1 by state; 2 by priority; 3 by several queues with feedback.
    return Setting(Option(name=name, kind=_INTEGER, choices=("0", "1", "2", "3"), default="0"), _SCHEDULE, key)


def _settings() -> Iterator[Setting]:
    # Who may ask, and for how long.
    yield _integer(_SERVER, "max-link-num", "maxLinkNum", 1, 1000, "1000")
    yield _integer(_SERVER, "token-timeout", "tokenTimeout", 1, 3600)
    yield _integer(_SERVER, "e2e-timeout", "e2eTimeout", 1, 3600)
    yield Setting(Option(name="openai-support"), _SERVER, "openAiSupport")
    # How long a sequence may be.
    yield Setting(Option(name="max-seq-len", kind=_INTEGER, meaning="context_length", least=1), _DEPLOY, "maxSeqLen")
    yield _integer(_DEPLOY, "max-input-token-len", "maxInputTokenLen", 1, 4_194_304)
    yield Setting(Option(name="truncation", kind=_FLAG), _DEPLOY, "truncation")
    # What memory is planned with.
    yield Setting(
        Option(name="npu-memory-fraction", kind=_NUMBER, meaning="memory_fraction", above=0, most=1), Section.OTHER
    )
    yield Setting(Option(name="cpu-mem-size", kind=_INTEGER, least=0), Section.OTHER)
    yield Setting(
        Option(name="cache-block-size", kind=_INTEGER, least=1, most=128, power_of_two=True, default="128"),
        _SCHEDULE,
        "cacheBlockSize",
    )
    yield Setting(Option(name="kv-pool-config", kind=_JSON), _SCHEDULE, "kvPoolConfig")
    # How a batch is planned.
    yield _integer(_SCHEDULE, "max-batch-size", "maxBatchSize", 1, 5000, "200")
    yield Setting(
        Option(name="max-prefill-batch-size", kind=_INTEGER, least=1, default="50", below="max-batch-size"),
        _SCHEDULE,
        "maxPrefillBatchSize",
    )
    yield Setting(
        Option(name="max-preempt-count", kind=_INTEGER, least=0, default="0", below="max-batch-size"),
        _SCHEDULE,
        "maxPreemptCount",
    )
    yield _integer(_SCHEDULE, "max-prefill-tokens", "maxPrefillTokens", 1, 4_194_304)
    yield _integer(_SCHEDULE, "max-iter-times", "maxIterTimes", 1, 4_194_304)
    yield _integer(_SCHEDULE, "max-queue-delay-microseconds", "maxQueueDelayMicroseconds", 500, 1_000_000, "5000")
    yield _integer(_SCHEDULE, "max-first-token-wait-time", "maxFirstTokenWaitTime", 0, 3_600_000)
    yield _integer(_SCHEDULE, "prefill-time-ms-per-req", "prefillTimeMsPerReq", 0, 1000, "150")
    yield _integer(_SCHEDULE, "decode-time-ms-per-req", "decodeTimeMsPerReq", 0, 1000, "50")
    yield _policy("prefill-policy-type", "prefillPolicyType")
    yield _policy("decode-policy-type", "decodePolicyType")
    yield Setting(Option(name="support-select-batch", kind=_FLAG), _SCHEDULE, "supportSelectBatch")
    yield _integer(_MODEL, "async-scheduler-wait-time", "async_scheduler_wait_time", 1, 3600)
    for plan in _PLANS:
        yield _plan(plan)
    yield Setting(
        Option(name="no-enable-prefix-caching", kind=_FLAG, excludes=("enable-prefix-caching",)), Section.OTHER
    )
    yield _policy("policy-type", "policyType")
    yield Setting(
        Option(name="split-chunk-tokens", kind=_INTEGER, least=1, most=8192, multiple_of=16, default="512"),
        Section.OTHER,
    )
    yield _integer(Section.OTHER, "split-start-batch-size", "", 0, 5000, "16")
    yield _integer(Section.OTHER, "memory-decoding-length", "", 1, 16, "16")
    yield Setting(Option(name="memory-decoding-dynamic-algo", kind=_FLAG), Section.OTHER)
    yield _integer(Section.OTHER, "lookahead-level", "", 3, 16, "4")
    yield _integer(Section.OTHER, "lookahead-window", "", 1, 16, "5")
    yield _integer(Section.OTHER, "lookahead-guess-set-size", "", 1, 16, "5")
    yield _integer(Section.OTHER, "multi-token-prediction-tokens", "", 1, 16, "1")
    yield Setting(Option(name="enable-buffer-response", kind=_FLAG), _SCHEDULE, "bufferResponseEnabled")
    yield _integer(_SCHEDULE, "prefill-expected-time-ms", "prefillExpectedTime", 1, 3_600_000)
    yield _integer(_SCHEDULE, "decode-expected-time-ms", "decodeExpectedTime", 1, 3_600_000)
    # How the model is divided.
    yield _size("pipeline-parallel-size", "pp", "pp", "pipeline_parallel", power=False)
    yield _size("data-parallel-size", "dp", "dp", "data_parallel")
    yield _size("context-parallel-size", "cp", "cp")
    yield _size("tensor-parallel-size", "tp", "tp", "tensor_parallel")
    yield _size("sequence-parallel-size", "sp", "sp")
    yield _size("moe-expert-parallel-size", "moe-ep", "moe_ep")
    yield _size("moe-tensor-parallel-size", "moe-tp", "moe_tp")
    # What is loaded, and how it runs.
    yield Setting(Option(name="trust-remote-code", kind=_FLAG), _MODEL, "trustRemoteCode")
    yield Setting(Option(name="models", kind=_JSON), _MODEL, "models")
    yield Setting(
        Option(name="dtype", choices=("auto", "half", "float16", "bfloat16", "float", "float32"), default="auto"),
        Section.OTHER,
    )
    yield Setting(Option(name="rope-scaling", kind=_JSON), Section.OTHER)
    yield Setting(Option(name="rope-theta", kind=_NUMBER, above=0), Section.OTHER)
    yield Setting(Option(name="override-generation-config", kind=_JSON), Section.OTHER)
    yield Setting(Option(name="enforce-eager", kind=_FLAG), Section.OTHER)
    yield _integer(_DEPLOY, "max-loras", "maxLoras", 1, 1024)
    yield _integer(_DEPLOY, "max-lora-rank", "maxLoraRank", 1, 512)
    # What it tells.
    yield Setting(Option(name="metrics", kind=_FLAG, excludes=("no-metrics",)), Section.OTHER)
    yield Setting(Option(name="no-metrics", kind=_FLAG), Section.OTHER)
    yield Setting(
        Option(name="log-level", choices=("Verbose", "Info", "Warning", "Warn", "Error", "Debug"), default="Info"),
        Section.OTHER,
    )


_OWNED = (
    *("host", "port", "model", "served-model-name", "api-key", "npu-device-ids", "world-size", "rank-table-file"),
    *("multi-nodes-infer-enabled", "multi-nodes-infer-port", "https-enabled"),
)
"""What Motorpool decides, by the names that users of other backends may try."""

PARALLEL = tuple(
    f"{name}-parallel-size"
    for name in ("pipeline", "data", "context", "tensor", "sequence", "moe-expert", "moe-tensor")
)
SETTINGS: Mapping[str, Setting] = {setting.option.name: setting for setting in _settings()}
OPTIONS = (
    *(Option(name=name, system_owned=True) for name in _OWNED),
    *(setting.option for setting in SETTINGS.values()),
)
