from pathlib import Path

import pytest

from motorpool_controller import config
from motorpool_controller.config import Address, ConfigError, load
from tests.homeless import homeless


@pytest.fixture(autouse=True)
def _no_default_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(config, "DEFAULT_FILE", tmp_path / "none.toml")


def test_defaults_serve_a_fleet() -> None:
    """
    Without any setting both listeners are open to the fleet, on the documented ports.
    """
    settings = load({}, environment={})

    assert ("0.0.0.0:7400", "0.0.0.0:7401") == (str(settings.listen), str(settings.agents_listen))
    assert config.default_data_dir() == settings.data_dir


def test_flags_beat_variables_beat_the_file(tmp_path: Path) -> None:
    """
    A setting comes from the first of flag, variable and file that has it.
    """
    file = tmp_path / "controller.toml"
    file.write_text('listen = "a:1"\nagents_listen = "a:2"\nlog_level = "debug"\nadvertise = ["x.example"]\n')
    environment = {"MOTORPOOL_CONTROLLER_LISTEN": "b:1", "MOTORPOOL_CONTROLLER_AGENTS_LISTEN": "b:2"}

    settings = load({"listen": "c:1", "agents_listen": None, "advertise": []}, environment=environment, file=file)

    assert (Address("c", 1), Address("b", 2)) == (settings.listen, settings.agents_listen)
    assert ("debug", ("x.example",)) == (settings.log_level, settings.advertise)


def test_file_may_be_named_by_a_variable(tmp_path: Path) -> None:
    """
    MOTORPOOL_CONTROLLER_CONFIG names the file.
    """
    file = tmp_path / "c.toml"
    file.write_text("lease_periods = 7\n")

    assert load({}, environment={"MOTORPOOL_CONTROLLER_CONFIG": str(file)}).lease_periods == 7


def test_a_password_is_not_shown() -> None:
    """
    Neither a URL of another kind nor the settings themselves show the password in it.
    """
    with pytest.raises(ConfigError, match="MOTORPOOL_CONTROLLER_DATABASE is not shown, which is not allowed") as caught:
        load({}, environment={"MOTORPOOL_CONTROLLER_DATABASE": "mysql://me:s3cret@host/name"})
    settings = load({}, environment={"MOTORPOOL_CONTROLLER_DATABASE": "postgresql://me:s3cret@host/name"})

    assert "s3cret" not in f"{caught.value} {settings}"


def test_a_password_without_a_database_is_refused(tmp_path: Path) -> None:
    """
    Who names a password's file means a database, and would get a file of rows instead.
    """
    with pytest.raises(ConfigError, match="database_password_file is set, and database is not"):
        load({}, environment={"MOTORPOOL_CONTROLLER_DATABASE_PASSWORD_FILE": str(tmp_path / "password")})


@pytest.mark.parametrize("name", list(config._SETTINGS))
def test_bad_value_names_source_value_and_what_is_allowed(name: str, tmp_path: Path) -> None:
    """
    A bad value in any source names where it stands, what it is, and what would be allowed.
    """
    bad = {"data_dir": "", "database_password_file": "", "advertise": "-"}.get(name, "☃")
    file = tmp_path / "controller.toml"
    file.write_text(f'{name} = "{bad}"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=f"^{file}: {name} is .* not allowed: .+"):
        load({}, environment={}, file=file)
    if bad:
        variable = f"MOTORPOOL_CONTROLLER_{name.upper()}"
        with pytest.raises(ConfigError, match=f"^environment variable {variable} is '{bad}', which is not allowed: .+"):
            load({}, environment={variable: bad})
        with pytest.raises(ConfigError, match=f"^flag --{name.replace('_', '-')} is '{bad}', which is not"):
            load({name: bad}, environment={})


@pytest.mark.promise("P9")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"listen = ", "is not TOML"),
        (b"\xff\xfe", "is not TOML"),
        (b"listen = " + b"[" * 5000, "is not TOML"),
        (b"listen = " + b"9" * 5000, "is not TOML"),
        (b"lisen = 1", "lisen is not a setting; did you mean listen"),
        (b"zzz = 1", "known keys: data_dir"),
        (b"lease_periods = true", "a whole number"),
        (b"heartbeat_seconds = nan", "a number from"),
        (b"listen = 7400", "HOST:PORT"),
        (b"advertise = [1]", "host names"),
    ],
)
def test_bad_file_is_said_to_be(tmp_path: Path, text: bytes, message: str) -> None:
    """
    A file that is no TOML, or has unknown keys or wrong types, is named with what is wrong in it.
    """
    file = tmp_path / "controller.toml"
    file.write_bytes(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load({}, environment={}, file=file)
    assert str(file) in str(caught.value)


def test_a_user_without_a_home_is_told_which_flag_helps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """
    Without a home directory there is no default folder: the flag is named, and where it is given nothing is missing.
    """
    homeless(monkeypatch)
    with pytest.raises(ConfigError, match=r"no home directory.*--data-dir"):
        load({}, environment={})
    with pytest.raises(ConfigError, match=r"--data-dir is '~/data'.*home directory"):
        load({"data_dir": "~/data"}, environment={})
    assert tmp_path == load({"data_dir": tmp_path}, environment={}).data_dir


def test_missing_file_is_named(tmp_path: Path) -> None:
    """
    A file that was named and is not there is an error.
    """
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read: No such file"):
        load({}, environment={}, file=tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a.example:1", "a.example:1"), ("[::1]:0", "[::1]:0"), ("127.0.0.1:65535", "127.0.0.1:65535")],
)
def test_address_is_read(text: str, expected: str) -> None:
    """
    Names, IPv4 and bracketed IPv6 addresses with a port are addresses to listen on.
    """
    assert expected == str(load({"listen": text}, environment={}).listen)


@pytest.mark.parametrize("text", ["", "a", "a:", ":1", "a:65536", "a:-1", "::1:7400", "a b:1", "a:1 ", "a:\u0661"])
def test_what_is_no_address_is_refused(text: str) -> None:
    """
    Anything else is refused, with an example.
    """
    with pytest.raises(ConfigError, match="HOST:PORT"):
        load({"listen": text or ":"}, environment={})


def test_heartbeats_stretch_with_the_fleet() -> None:
    """
    The fleet sends at most so many heartbeats a second; the lease is a number of periods.
    """
    settings = load({}, environment={})

    assert (10.0, 10.0, 20.0) == tuple(settings.heartbeat_period_seconds(nodes) for nodes in (1, 5_000, 10_000))
    assert (40.0, 80.0) == (settings.lease_seconds(1), settings.lease_seconds(10_000))


def test_every_setting_is_documented() -> None:
    """
    The controller's README tells of every setting.
    """
    readme = (Path(__file__).parents[2] / "controller" / "README.md").read_text()

    assert [] == [name for name in config._SETTINGS if f"`{name}`" not in readme]
