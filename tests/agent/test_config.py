"""The configuration: where settings come from, and what bad ones get."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool_agent.config import ConfigError, load
from motorpool_agent.config.sources import default_node_name
from tests.homeless import homeless


def test_flags_win_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    """
    Each setting is taken from the first source that has it.
    """
    file = tmp_path / "agent.toml"
    file.write_text('node_name = "file"\nport_range = "41000-41001"\nlog_level = "debug"\n')

    config = load(
        {"node_name": "flag"},
        environment={"MOTORPOOL_NODE_NAME": "env", "MOTORPOOL_PORT_RANGE": "42000-42003"},
        file=file,
    )

    assert (config.node_name, config.port_range, config.log_level) == ("flag", range(42000, 42004), "debug")
    assert config.reserved_memory_bytes == 1 << 30
    assert not config.use_proxy
    assert not config.engine_proxy


def test_labels_of_all_sources_are_merged(tmp_path: Path) -> None:
    """
    A flag adds to the file's labels and wins where both name a key.
    """
    file = tmp_path / "agent.toml"
    file.write_text('[labels]\nzone = "a"\nrack = "7"\n')

    config = load({"labels": ["zone=c", "disk=ssd"]}, environment={"MOTORPOOL_LABELS": "zone=b,gen=9"}, file=file)

    assert config.labels == {"zone": "c", "rack": "7", "gen": "9", "disk": "ssd"}


def test_the_file_is_found_by_variable(tmp_path: Path) -> None:
    """
    MOTORPOOL_AGENT_CONFIG names the file where --config does not.
    """
    file = tmp_path / "agent.toml"
    file.write_text('node_name = "file"\n')

    assert load({}, environment={"MOTORPOOL_AGENT_CONFIG": str(file)}).node_name == "file"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nod_name = 'a'", r"nod_name is not a setting; did you mean node_name\?"),
        ("zzz = 1", "zzz is not a setting; known keys: node_name"),
        ("node_name = ", "is not TOML"),
        ("node_name = " + "[" * 5000, "is not TOML"),
        ("node_name = " + "9" * 5000, "is not TOML"),
        ("node_name = 7", "node_name is '7', which is not allowed: give 1 to 63"),
        ("labels = {a = 1}", "labels is .* give key=value"),
        ("use_proxy = 3", "use_proxy is '3', which is not allowed: give true or false"),
        ('join_token = "a"\njoin_token_file = "b"', "both set"),
        ("allow_plugins = [1]", "allow_plugins is .* give a list of names"),
    ],
)
def test_a_bad_file_is_named_with_its_key(tmp_path: Path, text: str, said: str) -> None:
    """
    The error names file, key, value and what is allowed.
    """
    file = tmp_path / "agent.toml"
    file.write_text(text)

    with pytest.raises(ConfigError, match=said) as caught:
        load({}, environment={}, file=file)

    assert str(file) in str(caught.value)


def test_a_user_without_a_home_is_told_which_flag_helps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """
    Without a home directory there are no default folders: the flag is named, and where given nothing is missing.
    """
    homeless(monkeypatch)
    with pytest.raises(ConfigError, match=r"no home directory.*--data-dir"):
        load({}, environment={})
    with pytest.raises(ConfigError, match=r"no home directory.*--cache-dir"):
        load({"data_dir": str(tmp_path)}, environment={})
    with pytest.raises(ConfigError, match=r"--data-dir is '~/data'.*home directory"):
        load({"data_dir": "~/data"}, environment={})
    assert tmp_path == load({"data_dir": str(tmp_path), "cache_dir": "/c"}, environment={}).data_dir


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    """
    A --config that is not there is an error, not an empty configuration.
    """
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load({}, environment={}, file=tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("name", "value", "source", "allowed"),
    [
        ("node_name", "Upper", "flag --node-name", "lower-case"),
        ("node_name", "a" * 64, "flag --node-name", "1 to 63"),
        ("node_ip", "10.0.0.300", "flag --node-ip", "IP address"),
        ("node_ip", "h:1", "flag --node-ip", "without a port"),
        ("server", "controller", "flag --server", "host:port"),
        ("server", "fd00::1:7400", "flag --server", "host:port"),
        ("server", "h:0", "flag --server", "host:port"),
        ("server", "h:99999", "flag --server", "host:port"),
        ("port_range", "5-4", "flag --port-range", "first-last"),
        ("port_range", "80-90", "flag --port-range", "1024"),
        ("reserved_memory", "2 gigs", "flag --reserved-memory", "2GiB"),
        ("reserved_memory", "-1", "flag --reserved-memory", "2GiB"),
        ("reserved_memory", "9" * 40, "flag --reserved-memory", "2GiB"),
        ("labels", ["novalue"], "flag --label", "key=value"),
        ("labels", ["a b=c"], "flag --label", "key=value"),
        ("data_dir", "\0", "flag --data-dir", "path"),
        ("log_level", "loud", "flag --log-level", "debug, info"),
    ],
)
def test_a_bad_flag_is_named_with_what_is_allowed(name: str, value: str | list[str], source: str, allowed: str) -> None:
    """
    The error names the flag, and what it may be.
    """
    with pytest.raises(ConfigError, match=f"{source} .*is not allowed: .*{allowed}"):
        load({name: value}, environment={})


def test_a_bad_variable_is_named() -> None:
    """
    The error names the variable.
    """
    with pytest.raises(ConfigError, match="environment variable MOTORPOOL_USE_PROXY is 'perhaps'"):
        load({}, environment={"MOTORPOOL_USE_PROXY": "perhaps"})


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1024", 1024), ("2GiB", 2 << 30), ("1.5 MiB", 3 << 19), ("3GB", 3_000_000_000), ("7B", 7)],
)
def test_sizes(text: str, size: int) -> None:
    """
    Sizes are bytes, or carry their unit.
    """
    assert load({"reserved_device_memory": text}, environment={}).reserved_device_memory_bytes == size


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [("h:1", "h:1"), ("10.0.0.1:7400", "10.0.0.1:7400"), ("[fd00::1]:7400", "[fd00::1]:7400"), ("a.b.c:9", "a.b.c:9")],
)
def test_endpoints(text: str, endpoint: str) -> None:
    """
    An endpoint is a name or address and a port.
    """
    assert load({"server": text}, environment={}).server == endpoint


@pytest.mark.parametrize(
    ("hostname", "name"),
    [("alpha", "alpha"), ("Box_7.lan.example", "box-7"), ("--", "node"), ("ä" * 70, "node"), ("x" * 70, "x" * 63)],
)
def test_the_hostname_makes_a_label(hostname: str, name: str) -> None:
    """
    The default node name is a DNS label, whatever the host is called.
    """
    assert default_node_name(hostname) == name


def test_the_token_comes_from_its_file(tmp_path: Path) -> None:
    """
    A token file is read when the token is needed, and a missing one is an error then, not before.
    """
    file = tmp_path / "token"
    config = load({"join_token_file": str(file)}, environment={})
    with pytest.raises(ConfigError, match="cannot be read"):
        config.token()
    file.write_text("mpj_x\n")

    assert config.token() == "mpj_x"


def test_a_later_source_of_the_token_replaces_the_earlier_whole(tmp_path: Path) -> None:
    """
    A flag's token wins over the environment's token file.
    """
    config = load({"join_token": "flag"}, environment={"MOTORPOOL_JOIN_TOKEN_FILE": "/nowhere"})

    assert config.token() == "flag"
    assert "flag" not in repr(config)


def test_two_tokens_of_one_source_are_an_error() -> None:
    """
    Which of two was meant is not guessed.
    """
    with pytest.raises(ConfigError, match="give one of them"):
        load({"join_token": "a", "join_token_file": "b"}, environment={})


def test_a_bad_token_is_not_shown() -> None:
    """
    The error of an unusable token does not repeat it.
    """
    with pytest.raises(ConfigError, match="flag --token is not allowed"):
        load({"join_token": " "}, environment={})
