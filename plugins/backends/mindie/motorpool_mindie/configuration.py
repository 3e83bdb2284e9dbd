"""What MindIE is told: its configuration file, its variables, changes of the model's own files, the rank table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from motorpool_mindie.options import PARALLEL, Section
from motorpool_mindie.parameters import Parameters, parameters_of, sequence_of
from motorpool_sdk import Gang, LaunchFile, LaunchRequest

HOME = Path("/usr/local/Ascend/mindie/latest/mindie-service")
CONFIGURATION = HOME / "conf" / "config.json"
RANK_TABLE = HOME / "conf" / "ranktable.json"
RENDEZVOUS = "rendezvous"
"""The leader's port where the members of a gang meet."""

_ANY = ("0.0.0.0", "::")  # noqa: S104  # inside a container
_DTYPES = {"half": "float16", "float": "float32"}
# Below this, planning ahead costs more than it brings (B14.10).
_LEAST_ASYNC_BATCH = 51


def configuration(request: LaunchRequest) -> str:
    """Return the text of ``config.json``."""
    parameters, gang = parameters_of(request), request.gang
    count = max(len(request.device_ids), 1)
    backend: dict[str, object] = {
        "backendName": "mindieservice_llm_engine",
        "modelInstanceNumber": 1,
        # As the engine counts those that it is shown, from 0; over several nodes the rank table counts.
        "npuDeviceIds": [list(range(count))],
        "tokenizerProcessNumber": 8,
        "multiNodesInferEnabled": gang is not None,
        "multiNodesInferPort": 1120 if gang is None else gang.leader.ports[RENDEZVOUS],
        "interNodeTLSEnabled": False,
        "ModelDeployConfig": _deployment(request, parameters, count),
        "ScheduleConfig": _schedule(request, parameters),
    }
    whole = {
        "Version": "1.0.0",
        "LogConfig": {"logLevel": parameters.text("log-level"), "logPath": "logs/mindie-server.log"},
        "ServerConfig": _server(request, parameters),
        "BackendConfig": backend,
    }
    return json.dumps(whole, indent=1) + "\n"


def variables(request: LaunchRequest) -> dict[str, str]:
    """Return the variables that MindIE reads beside its file."""
    parameters, gang = parameters_of(request), request.gang
    batch = parameters.integer("max-batch-size")
    eager = parameters.says("enforce-eager")
    env = {
        "MINDIE_LOG_LEVEL": parameters.text("log-level").lower(),
        "MINDIE_LOG_TO_STDOUT": "1",
        "MIES_SERVICE_MONITOR_MODE": "0" if parameters.says("no-metrics") else "1",
        "MIES_USE_MB_SWAPPER": "1" if parameters.swap_gib else "0",
        "MINDIE_ASYNC_SCHEDULING_ENABLE": "0" if eager or batch < _LEAST_ASYNC_BATCH else "1",
    }
    if request.memory_fraction:
        env["NPU_MEMORY_FRACTION"] = f"{request.memory_fraction:g}"
    if eager:
        env |= {"TASK_QUEUE_ENABLE": "0", "ATB_OPERATION_EXECUTE_ASYNC": "0", "ASCEND_LAUNCH_BLOCKING": "1"}
    return env if gang is None else {**env, **_gang_variables(gang)}


def files(request: LaunchRequest) -> Iterator[LaunchFile]:
    """Yield the files: MindIE's own, the rank table of a gang, and the model's with what the user changes of them."""
    yield LaunchFile(path=CONFIGURATION, text=configuration(request))
    if request.gang is not None:
        yield LaunchFile(path=RANK_TABLE, text=rank_table(request.gang))
    for name, changes in _model_changes(parameters_of(request)):
        path = request.model_path / name
        yield LaunchFile(path=path, text=json.dumps(changes), onto=path)


def rank_table(gang: Gang) -> str:
    """Return the table of every member's devices, their own addresses and their ranks, counted through."""
    servers, rank = [], 0
    for member in gang.members:
        devices = []
        for device in member.devices:
            own = {"device_id": str(device.index), "device_ip": device.address, "rank_id": str(rank)}
            devices.append(own)
            rank += 1
        servers.append({"server_id": member.address, "container_ip": member.address, "device": devices})
    table = {"version": "1.0", "server_count": str(len(servers)), "server_list": servers, "status": "completed"}
    return json.dumps(table, indent=1) + "\n"


def _server(request: LaunchRequest, parameters: Parameters) -> dict[str, object]:
    return {
        "ipAddress": request.listen_address,
        "managementIpAddress": request.listen_address,
        "port": request.port,
        "managementPort": request.port,
        "metricsPort": request.port,
        "allowAllZeroIpListening": request.listen_address in _ANY,
        "maxLinkNum": parameters.integer("max-link-num"),
        "httpsEnabled": False,
        "fullTextEnabled": False,
        "inferMode": "standard",
        "interCommTLSEnabled": False,
        "openAiSupport": "vllm",
        "tokenTimeout": 600,
        "e2eTimeout": 600,
        "distDPServerEnabled": False,
        **parameters.section(Section.SERVER),
    }


def _deployment(request: LaunchRequest, parameters: Parameters, count: int) -> dict[str, object]:
    model: dict[str, object] = {
        "modelInstanceType": "Standard",
        "modelName": request.served_model_name,
        "modelWeightPath": str(request.model_path),
        "worldSize": count,
        "cpuMemSize": parameters.swap_gib,
        "npuMemSize": -1,
        "backendType": "atb",
        "trustRemoteCode": request.trust_remote_code,
        **_sizes(request, parameters),
        **parameters.section(Section.MODEL),
    }
    sequence = sequence_of(request, parameters)
    plan = _plan(parameters)
    if plan:
        model["plugin_params"] = json.dumps(plan)
    deployment: dict[str, object] = {
        "maxInputTokenLen": sequence,
        "truncation": False,
        **parameters.section(Section.DEPLOY),
        "maxSeqLen": sequence,
        "ModelConfig": [model],
    }
    gamma = _gamma(parameters)
    if gamma:
        deployment["speculationGamma"] = gamma
    if request.adapters:
        deployment = {"maxLoras": len(request.adapters), "maxLoraRank": 64, **deployment}
        deployment["LoraModules"] = [
            {"name": adapter.name, "path": str(adapter.path), "baseModelName": request.served_model_name}
            for adapter in request.adapters
        ]
    return deployment


def _schedule(request: LaunchRequest, parameters: Parameters) -> dict[str, object]:
    sequence = sequence_of(request, parameters)
    schedule: dict[str, object] = {
        "templateType": "Mix" if parameters.says("enable-split") else "Standard",
        "templateName": "Standard_LLM",
        "cacheBlockSize": parameters.integer("cache-block-size"),
        "maxPrefillBatchSize": parameters.integer("max-prefill-batch-size"),
        "maxPrefillTokens": sequence,
        "prefillTimeMsPerReq": parameters.integer("prefill-time-ms-per-req"),
        "prefillPolicyType": parameters.integer("prefill-policy-type"),
        "decodeTimeMsPerReq": parameters.integer("decode-time-ms-per-req"),
        "decodePolicyType": parameters.integer("decode-policy-type"),
        "maxBatchSize": parameters.integer("max-batch-size"),
        "maxIterTimes": sequence,
        "maxPreemptCount": parameters.integer("max-preempt-count"),
        "supportSelectBatch": False,
        "maxQueueDelayMicroseconds": parameters.integer("max-queue-delay-microseconds"),
        **parameters.section(Section.SCHEDULE),
    }
    if parameters.says("enable-split"):
        schedule |= {
            "enableSplit": True,
            "policyType": parameters.integer("policy-type"),
            "splitType": False,
            "splitStartType": False,
            "splitChunkTokens": parameters.integer("split-chunk-tokens"),
            "splitStartBatchSize": parameters.integer("split-start-batch-size"),
        }
    if parameters.says("enable-prefix-caching"):
        schedule["enablePrefixCache"] = True
    return schedule


def _sizes(request: LaunchRequest, parameters: Parameters) -> dict[str, object]:
    """Return what the placement decided over nodes; on one, all devices are a tensor group by themselves."""
    if request.gang is None or any(parameters.says(name) for name in PARALLEL):
        return {}
    sizes = {"pp": request.parallelism.pipeline, "tp": request.parallelism.tensor}
    return {key: size for key, size in sizes.items() if size is not None}


def _plan(parameters: Parameters) -> dict[str, object]:
    """Return the way to plan a batch that was asked for, as MindIE's plug-ins take it; nothing for the usual one."""
    if parameters.says("enable-split"):
        return {"plugin_type": "splitfuse"}
    if parameters.says("enable-memory-decoding"):
        return {
            "plugin_type": "memory_decoding",
            "decoding_length": parameters.integer("memory-decoding-length"),
            "dynamic_algo": parameters.says("memory-decoding-dynamic-algo"),
        }
    if parameters.says("enable-lookahead"):
        return {
            "plugin_type": "la",
            "level": parameters.integer("lookahead-level"),
            "window": parameters.integer("lookahead-window"),
            "guess_set_size": parameters.integer("lookahead-guess-set-size"),
        }
    if parameters.says("enable-multi-token-prediction"):
        tokens = parameters.integer("multi-token-prediction-tokens")
        return {"plugin_type": "mtp", "num_speculative_tokens": tokens}
    return {"plugin_type": "prefix_cache"} if parameters.says("enable-prefix-caching") else {}


def _gamma(parameters: Parameters) -> int:
    """Return how many guessed tokens room is kept for; MTP's follows from its plug-in's own number."""
    if parameters.says("enable-memory-decoding"):
        return parameters.integer("memory-decoding-length")
    if parameters.says("enable-lookahead"):
        window = parameters.integer("lookahead-window") + parameters.integer("lookahead-guess-set-size")
        return (parameters.integer("lookahead-level") - 1) * window
    return 0


def _model_changes(parameters: Parameters) -> Iterator[tuple[str, dict[str, object]]]:
    changes: dict[str, object] = {}
    dtype = parameters.text("dtype")
    if dtype != "auto":
        changes["torch_dtype"] = _DTYPES.get(dtype, dtype)
    for name, key in (("rope-scaling", "rope_scaling"), ("rope-theta", "rope_theta")):
        if parameters.says(name):
            changes[key] = parameters.value(name)
    if changes:
        yield "config.json", changes
    generation = parameters.value("override-generation-config") if parameters.says("override-generation-config") else {}
    if isinstance(generation, dict) and generation:
        yield "generation_config.json", generation


def _gang_variables(gang: Gang) -> dict[str, str]:
    own = gang.own.address
    named = {"GLOO_SOCKET_IFNAME": gang.interface, "HCCL_SOCKET_IFNAME": gang.interface} if gang.interface else {}
    return {
        **named,
        "WORLD_SIZE": str(sum(len(member.devices) for member in gang.members)),
        "RANKTABLEFILE": str(RANK_TABLE),
        "RANK_TABLE_FILE": str(RANK_TABLE),
        "MIES_CONTAINER_IP": own,
        "HOST_IP": own,
        "HCCL_IF_IP": own,
        "HCCL_CONNECT_TIMEOUT": "7200",
        "HCCL_EXEC_TIMEOUT": "0",
        "ATB_LLM_HCCL_ENABLE": "1",
        "ATB_LLM_COMM_BACKEND": "hccl",
    }
