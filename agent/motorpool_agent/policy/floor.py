"""What holds whatever a policy says, and what holds without one."""

from __future__ import annotations

from fnmatch import fnmatchcase

ENVIRONMENT = (
    # Variables that decide which code is loaded, whatever the engine is. HOME: Python imports from below it.
    *("PATH", "HOME", "ENV", "BASH_ENV", "IFS", "GCONV_PATH", "GLIBC_TUNABLES", "LOCPATH", "NODE_OPTIONS"),
    *("PERL5LIB", "PERL5OPT", "RUBYLIB", "RUBYOPT", "JAVA_TOOL_OPTIONS", "CLASSPATH"),
    *("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE", "PYTHONBREAKPOINT", "PYTHONWARNINGS"),
    *("PYTHONEXECUTABLE", "PYTHONPLATLIBDIR", "PYTHONPYCACHEPREFIX", "PYTHONINSPECT"),
    *("LD_*", "DYLD_*", "BASH_FUNC_*", "MOTORPOOL_*"),
    # Libraries that a driver or a collective library loads by name, and a logger's own configuration, which is code.
    *("CUDA_INJECTION*_PATH", "NCCL_*_PLUGIN", "RCCL_*_PLUGIN", "VLLM_LOGGING_CONFIG_PATH"),
    # Which devices an engine uses is what was claimed for it.
    "*_VISIBLE_DEVICES",
    # What opens an engine to whoever asks it: pickled messages, routes of developers, adapters by path.
    *("VLLM_ALLOW_INSECURE_SERIALIZATION", "VLLM_SERVER_DEV_MODE", "VLLM_ALLOW_RUNTIME_LORA_UPDATING"),
    # llama-server takes every one of its options from there, too; parameters are looked at, and reckoned with.
    *("LLAMA_ARG_*", "LLAMA_LOG_FILE"),
)
"""Variables that no deployment and no declaration sets."""

PROTECTED = ("/boot", "/dev", "/etc", "/proc", "/run", "/sys", "/var/lib/containerd", "/var/lib/docker", "/var/log")
"""Folders in which no model lies, unless a root within one of them is named."""

PRIVATE = frozenset({".aws", ".azure", ".docker", ".gnupg", ".kube", ".ssh"})
"""Names of folders that hold people's keys: nothing below one is given to an engine, wherever it is."""

DEVICES = (
    *("/dev/nvidia*", "/dev/nvidia-caps/*", "/dev/dri/*", "/dev/kfd", "/dev/mkfd", "/dev/mtgpu*"),
    *("/dev/davinci*", "/dev/vdavinci*", "/dev/devmm_svm", "/dev/hisi_hdc", "/dev/dvpp_cmdlist", "/dev/uburma"),
    *("/dev/ummu", "/dev/iluvatar*", "/dev/itrctl", "/dev/mxcd", "/dev/mxnd", "/dev/mxgd"),
    *("/dev/cambricon*", "/dev/cambricon-caps/*", "/dev/infiniband/*"),
)
"""Device nodes of accelerators, and of the networks between them."""

LOADING_KEYS = frozenset({"kv_connector_module_path", "worker_cls", "worker_extension_cls", "scheduler_cls"})
"""Keys that name code to load, wherever they stand in a parameter that is JSON, or in its name (vLLM's options)."""


def denies(name: str) -> bool:
    """Whether a variable is one that nobody sets."""
    return any(fnmatchcase(name, pattern) for pattern in ENVIRONMENT)
