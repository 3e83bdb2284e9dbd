import stat
import tomllib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from motorpool_controller import config
from motorpool_controller.config import Settings
from motorpool_controller.security.authority import Authority, sync_folder, write_new
from motorpool_controller.security.tokens import read_token
from motorpool_controller.services import initialization
from motorpool_controller.services.initialization import initialise_data_dir
from motorpool_controller.store.database import make_database, open_database
from motorpool_controller.store.errors import StoreError
from motorpool_controller.store.tokens import TokenTable

FILES = {"ca-key.pem", "ca.pem", "client.toml", "controller.db"}


@pytest.fixture(name="settings")
def _settings(tmp_path: Path) -> Settings:
    return config.load({"data_dir": tmp_path / "data", "listen": "127.0.0.1:7400"}, environment={})


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def test_cluster_is_made(settings: Settings) -> None:
    """
    A new data directory holds an authority, a database, and a client file whose token is an admin's; all private.
    """
    made = initialise_data_dir(settings)
    client = tomllib.loads(made.client_file.read_text())
    bearer = read_token(client["token"])
    engine = open_database(settings.database)
    (token,) = TokenTable(engine).list()
    engine.dispose()

    assert content(settings.data_dir).keys() == FILES
    assert ("127.0.0.1:7400", "ca.pem") == (client["server"], client["ca_file"])
    assert bearer is not None
    assert (bearer.token_id, True, "admin") == (token.token_id, bearer.matches(token.secret_hash), token.role)
    assert Authority.load(settings.data_dir, made.cluster_id).cluster_id == made.cluster_id
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in settings.data_dir.iterdir()}
    assert {"ca-key.pem": 0o600, "ca.pem": 0o644, "client.toml": 0o600, "controller.db": 0o600} == modes
    assert stat.S_IMODE(settings.data_dir.stat().st_mode) == 0o700


def test_cluster_is_not_made_twice(settings: Settings) -> None:
    """
    Where there is a cluster, or a part of one, nothing is changed.
    """
    initialise_data_dir(settings)
    before = content(settings.data_dir)
    with pytest.raises(StoreError, match="holds a cluster already"):
        initialise_data_dir(settings)
    assert before == content(settings.data_dir)

    settings.database_file.unlink()
    with pytest.raises(StoreError, match=r"ca-key\.pem, ca\.pem, client\.toml but no controller\.db"):
        initialise_data_dir(settings)
    assert before.keys() - {"controller.db"} == content(settings.data_dir).keys()


class Killed(BaseException):
    pass


@pytest.mark.parametrize("step", range(9))
def test_crash_at_any_point_is_made_good_by_the_next_init(
    settings: Settings, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    However far an init got before it was killed, the next one ends with one whole cluster.
    """
    steps = 0

    def killing(function: object) -> object:
        def stepping(*arguments: object, **options: object) -> object:
            nonlocal steps
            steps += 1
            if steps > step:
                raise Killed
            return function(*arguments, **options)  # type: ignore[operator]  # what is wrapped here can be called

        return stepping

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killing(Path.rename))
        patch.setattr(initialization, "write_new", killing(write_new))
        patch.setattr(initialization, "make_database", killing(make_database))
        patch.setattr(initialization, "sync_folder", killing(sync_folder))
        try:
            initialise_data_dir(settings)
        except Killed:
            killed = True
        else:
            killed = False
    if killed and not settings.database_file.exists():
        made = initialise_data_dir(settings)
        assert Authority.load(settings.data_dir, made.cluster_id).cluster_id == made.cluster_id

    assert content(settings.data_dir).keys() == FILES


def test_folder_that_cannot_be_written_is_named(
    tmp_path: Path, as_ordinary_user: Callable[[], AbstractContextManager[None]]
) -> None:
    """
    A data directory without permission is named, with what to do.
    """
    tmp_path.chmod(0o500)
    with as_ordinary_user(), pytest.raises(StoreError, match="--data-dir"):
        initialise_data_dir(config.load({"data_dir": tmp_path / "data"}, environment={}))


def test_file_in_the_way_is_named(tmp_path: Path) -> None:
    """
    A file where the data directory should be is named, with what to do.
    """
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StoreError, match=r"data cannot be used: .*--data-dir"):
        initialise_data_dir(config.load({"data_dir": tmp_path / "data"}, environment={}))


@pytest.mark.parametrize(
    ("flags", "server"),
    [
        ({"listen": "0.0.0.0:7400"}, "127.0.0.1:7400"),
        ({"listen": "[::]:7400", "advertise": ["c.example"]}, "c.example:7400"),
        ({"listen": "[::1]:7400"}, "[::1]:7400"),
    ],
)
def test_client_file_says_where_the_controller_is(tmp_path: Path, flags: dict[str, str], server: str) -> None:
    """
    The client file has an address at which the controller will be reached.
    """
    made = initialise_data_dir(config.load({"data_dir": tmp_path / "data", **flags}, environment={}))

    assert server == tomllib.loads(made.client_file.read_text())["server"]
