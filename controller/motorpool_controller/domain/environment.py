"""Names of variables that no deployment may set: what decides which code runs, and what the system itself sets.

An agent refuses them too, whatever its controller says; here they are refused before anything is placed.
"""

from __future__ import annotations

_CODE = frozenset(
    {
        *("PATH", "HOME", "ENV", "BASH_ENV", "IFS", "GCONV_PATH", "GLIBC_TUNABLES", "LOCPATH", "NODE_OPTIONS"),
        *("PERL5LIB", "PERL5OPT", "RUBYLIB", "RUBYOPT", "JAVA_TOOL_OPTIONS", "CLASSPATH"),
        *("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE", "PYTHONBREAKPOINT", "PYTHONWARNINGS"),
        *("PYTHONEXECUTABLE", "PYTHONPLATLIBDIR", "PYTHONPYCACHEPREFIX", "PYTHONINSPECT"),
    }
)
_CODE_PREFIXES = ("LD_", "DYLD_", "BASH_FUNC_")
_OWN_PREFIX = "MOTORPOOL_"
# CUDA, ROCR, HIP, ASCEND_RT, MUSA, MLU …: every vendor ends it so.
_DEVICES_SUFFIX = "_VISIBLE_DEVICES"


def why_owned(name: str) -> str | None:
    """Return why a deployment may not set this variable, and what to do; None where it may."""
    if name in _CODE or name.startswith(_CODE_PREFIXES):
        return "it changes which code the engine runs, and agents deny it; remove it"
    if name.startswith(_OWN_PREFIX):
        return "it belongs to Motorpool; remove it"
    if name.endswith(_DEVICES_SUFFIX):
        return "the placement decides which devices an engine sees; remove it, and pin devices with device_selector"
    return None
