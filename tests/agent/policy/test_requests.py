"""What a controller asks for in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from motorpool_agent.policy import BackendRules, DeniedError, Policy
from motorpool_agent.policy.requests import check_environment, check_name, check_option, check_values

pytestmark = pytest.mark.promise("P6")

OWNED = {"host": "host", "middleware": "middleware", "model": "model", "m": "model", "worker-cls": "worker-cls"}
KNOWN = ("mo", "max-model-len", "speculative-config", "model-impl", "api-thing")


def option(policy: Policy, word: str) -> None:
    check_option(policy, "vllm", word, OWNED, KNOWN)


@pytest.mark.parametrize(
    "word",
    [
        "--middleware",
        "middleware",
        "-middleware",
        "--middleware=os.system",
        "--middle",
        "--ho",
        "--worker_cls",
        "--worker-cls",
        "--worker_c",
        "-m",
        "--model+",
        "--middleware.0",
        "--kv-transfer-config.kv_connector_module_path",
        "--speculative-config.worker_cls",
    ],
)
def test_what_is_motorpools_own_is_denied_in_every_spelling(word: str) -> None:
    """
    With one dash or two, underscores, a value after an equals sign, as a beginning, as a key of JSON.
    """
    with pytest.raises(DeniedError) as caught:
        option(Policy(), word)

    assert caught.value.final


@pytest.mark.parametrize("word", ["", "--", "/etc/passwd", "-", "--a b", "--a\n--middleware", "$(reboot)", "--\u0430"])
def test_what_is_no_option_is_denied(word: str) -> None:
    """
    A positional argument, a second line, another alphabet.
    """
    with pytest.raises(DeniedError, match="not the name of an option"):
        option(Policy(), word)


@pytest.mark.parametrize(
    "word", ["mo", "--mo", "--max-model-len", "--max_model_len=4096", "--model-impl", "--new-flag"]
)
def test_other_options_go_through(word: str) -> None:
    """
    Also one that nobody knows yet, and one that begins as an owned one does.
    """
    option(Policy(), word)


def test_an_operator_denies_more() -> None:
    """
    For one backend, or for all; by pattern.
    """
    policy = Policy(
        source="/p", denied_options=("--enable-*",), backends={"vllm": BackendRules(denied_options=("seed",))}
    )

    for word in ("--enable-lora", "--enable_lora", "--seed=1", "seed"):
        with pytest.raises(DeniedError, match="denied by /p"):
            option(policy, word)


@pytest.mark.parametrize(
    "value",
    [
        "/etc/shadow",
        "/etc/cron.d/new",
        "law=/etc/shadow",
        "a,/etc/shadow",
        "file:///etc/shadow",
        "@/etc/shadow",
        "../../../../../../../../etc/shadow",
        "x/../../../../../../../../../etc/shadow",
        '{"model": "/etc/shadow"}',
        '{"a": [{"b": "../../../../../../../etc/shadow"}]}',
        '["/etc/shadow"]',
        "~root/anything",
        "model:/etc/shadow",
        "out/shadow",
        "/proc/self/environ",
    ],
)
def test_a_value_names_no_file_outside_the_roots(tmp_path: Path, value: str) -> None:
    """
    Alone, in a list, after a name, in JSON, by dots, by home, by a link.
    """
    work = tmp_path / "work"
    work.mkdir()
    (work / "out").symlink_to("/etc")
    value = value.replace("out/", f"{work}/out/")

    with pytest.raises(DeniedError):
        check_values(Policy(roots=("/srv/models",)), "--opt", [value], folder=work)


@pytest.mark.parametrize(
    "value",
    [
        "/v1",
        "4096",
        "-1",
        "-0.5",
        "auto",
        "{% if x %}/{% endif %}",
        '{"a": 1}',
        "{not json",
        "a/b",
        "x" * 9000,
        "/" + "x" * 9000,
    ],
)
def test_other_values_go_through(tmp_path: Path, value: str) -> None:
    """
    Numbers, routes of an API, templates, names of repositories.
    """
    check_values(Policy(roots=("/srv/models",)), "--opt", [value], folder=tmp_path)


def test_files_below_a_root_and_of_the_engines_own_may_be_named(tmp_path: Path) -> None:
    """
    A template beside the model, a file in the folder where the engine runs.
    """
    (tmp_path / "models").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "own.json").touch()
    policy = Policy(roots=(str(tmp_path / "models"),))

    check_values(policy, "--t", [f"{tmp_path}/models/t.jinja", "./own.json"], folder=tmp_path / "work")


def test_in_a_container_paths_are_the_containers(tmp_path: Path) -> None:
    """
    It sees of the machine what is mounted.
    """
    check_values(Policy(roots=()), "--opt", ["/etc/shadow"], folder=None)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("--seed", "--middleware"),
        ("--seed", "-m"),
        ("--seed=--host", ""),
        ("--kv-transfer-config", '{"kv_connector_module_path": "evil"}'),
        ("--additional-config", '{"a": [{"worker_cls": "evil.Worker"}]}'),
    ],
)
def test_a_value_is_no_option_and_names_no_code(tmp_path: Path, word: str, value: str) -> None:
    """
    What an engine would read as another option, and keys by which it loads modules.
    """
    with pytest.raises(DeniedError):
        check_values(Policy(), word, [value], folder=tmp_path)


@pytest.mark.parametrize("name", ["--host", "-m", "--trust-remote-code"])
def test_a_models_name_is_no_option(name: str) -> None:
    """
    It stands on the command line, where an engine would read it as one.
    """
    with pytest.raises(DeniedError, match="begins like an option"):
        check_name(name, "the model's name")


@pytest.mark.parametrize(
    "name",
    [
        *("LD_PRELOAD", "PATH", "HOME", "PYTHONPATH", "BASH_ENV", "MOTORPOOL_X", "CUDA_VISIBLE_DEVICES"),
        *("NCCL_NET_PLUGIN", "CUDA_INJECTION64_PATH", "VLLM_ALLOW_INSECURE_SERIALIZATION", "LLAMA_ARG_HOST"),
        *("A=B", "", "A B", "1A"),
    ],
)
def test_variables_that_reach_into_an_engine_are_denied(name: str) -> None:
    """
    What loads code, hands over devices, opens the engine; and what is no name.
    """
    with pytest.raises(DeniedError, match="environment variable"):
        check_environment(Policy(), [("OK", "1"), (name, "x")])


def test_an_operator_denies_more_variables() -> None:
    """
    By pattern; others go through.
    """
    policy = Policy(source="/p", denied_environment=("AWS_*",))

    check_environment(policy, [("HF_TOKEN", "x"), ("OMP_NUM_THREADS", "4")])
    with pytest.raises(DeniedError, match="denied by /p"):
        check_environment(policy, [("AWS_SECRET_ACCESS_KEY", "x")])
