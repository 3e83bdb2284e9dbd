"""llama-server's option table."""

from motorpool_llama_cpp import launcher
from motorpool_llama_cpp.options import OPTIONS
from motorpool_sdk import Option, OptionKind

BY_NAME = {option.name: option for option in OPTIONS}
KINDS: dict[object, OptionKind] = {int: OptionKind.INTEGER, float: OptionKind.NUMBER, None: OptionKind.FLAG}


def names(option: Option) -> set[str]:
    return {option.name, *option.aliases}


def test_what_motorpool_sets_is_its_own() -> None:
    """
    Nobody may set the model, the name, the address, the port or the key by a parameter.
    """
    for name in ("model", "alias", "host", "port", "api-key", "api-key-file", "hf-repo", "metrics"):
        assert BY_NAME[name].system_owned, name


def test_options_that_open_the_node_are_refused() -> None:
    """
    Options that would let a model's users run programs or read files on the node cannot be set.
    """
    for name in ("tools", "mcp-servers-config", "mcp-servers-json", "media-path", "path"):
        assert BY_NAME[name].system_owned, name


def test_the_launcher_takes_llama_servers_names() -> None:
    """
    Every option of the launcher is one of llama-server's, with the same kind and no alias of its own.
    """
    for known in launcher.KNOWN:
        option = BY_NAME[known.name]
        assert set(known.aliases) <= names(option), known.name
        assert not option.system_owned, known.name
        assert KINDS.get(known.value, OptionKind.STRING) is option.kind, known.name
