"""Names of variables that no deployment may set: what decides which code runs, and what the system itself sets.

An agent refuses them too, whatever its controller says; here they are refused before anything is placed.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

_CODE = frozenset(
    {
        *("PATH", "HOME", "ENV", "BASH_ENV", "IFS", "GCONV_PATH", "GLIBC_TUNABLES", "LOCPATH", "NODE_OPTIONS"),
        *("PERL5LIB", "PERL5OPT", "RUBYLIB", "RUBYOPT", "JAVA_TOOL_OPTIONS", "CLASSPATH"),
        *("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE", "PYTHONBREAKPOINT", "PYTHONWARNINGS"),
        *("PYTHONEXECUTABLE", "PYTHONPLATLIBDIR", "PYTHONPYCACHEPREFIX", "PYTHONINSPECT"),
    }
)
_CODE_PATTERNS = (
    *("LD_*", "DYLD_*", "BASH_FUNC_*"),
    # Libraries that a driver or a collective library loads by name, and a logger's own configuration, which is code.
    *("CUDA_INJECTION*_PATH", "NCCL_*_PLUGIN", "RCCL_*_PLUGIN", "VLLM_LOGGING_CONFIG_PATH"),
)
# Pickled messages, routes of developers, adapters by path.
_OPENING = frozenset({"VLLM_ALLOW_INSECURE_SERIALIZATION", "VLLM_SERVER_DEV_MODE", "VLLM_ALLOW_RUNTIME_LORA_UPDATING"})
# llama-server takes every one of its options from there, too, unseen by whoever reckons its memory.
_OPTIONS_PREFIXES = ("LLAMA_ARG_", "LLAMA_LOG_FILE")
_OWN_PREFIX = "MOTORPOOL_"
# CUDA, ROCR, HIP, ASCEND_RT, MUSA, MLU …: every vendor ends it so.
_DEVICES_SUFFIX = "_VISIBLE_DEVICES"


def why_owned(name: str) -> str | None:
    """Return why a deployment may not set this variable, and what to do; None where it may."""
    if name in _CODE or any(fnmatchcase(name, pattern) for pattern in _CODE_PATTERNS):
        return "it changes which code the engine runs, and agents deny it; remove it"
    if name in _OPENING:
        return "it lets whoever asks the engine run code or read files on the node, and agents deny it; remove it"
    if name.startswith(_OPTIONS_PREFIXES):
        return "llama-server reads an option from it that nobody plans with; give it as a parameter"
    if name.startswith(_OWN_PREFIX):
        return "it belongs to Motorpool; remove it"
    if name.endswith(_DEVICES_SUFFIX):
        return "the placement decides which devices an engine sees; remove it, and pin devices with device_selector"
    return None
