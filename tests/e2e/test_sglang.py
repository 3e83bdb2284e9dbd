"""SGLang's own parser takes what we launch, and has every option of our table."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from typing import Any

import pytest

from motorpool_sglang.options import OPTIONS
from motorpool_sglang.plugin import Sglang
from tests.e2e.sglang_parser import PYTHON, needs_sglang
from tests.plugins.backends.sglang.requests import GOLDEN

pytestmark = [pytest.mark.e2e, pytest.mark.slow, needs_sglang]

_PARSER = """
import argparse, json, sys
from sglang.srt.server_args import ServerArgs
from sglang.srt.utils.server_args_config_parser import ConfigArgumentMerger
parser = argparse.ArgumentParser()
ServerArgs.add_cli_args(parser)
def kind(action):
    if action.nargs == 0:
        return "flag"
    return {"int": "integer", "human_readable_int": "integer", "float": "number", "loads": "json"}.get(
        getattr(action.type, "__name__", ""), "string")
def read(argv):
    if "--config" in argv:
        argv = ConfigArgumentMerger(parser).merge_config_with_args(argv)
    return vars(parser.parse_args(argv))
options = {name: kind(action) for action in parser._actions for name in action.option_strings}
print(json.dumps({"options": options, "parsed": {name: read(argv) for name, argv in json.load(sys.stdin).items()}},
    default=str))
"""
OLDER = {"cuda-graph-max-bs", "enable-piecewise-cuda-graph", "piecewise-cuda-graph-max-tokens"}
"""Options of older releases, which rules of scheduling read."""


@pytest.fixture(scope="module", name="parser")
def make_parser(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """
    What SGLang's own parser says: its options, and what it read off each launch on file, its key's file too.
    """
    folder = tmp_path_factory.mktemp("files")
    launches: dict[str, list[str]] = {}
    for name, request in GOLDEN.items():
        if "image" in request.categories:
            continue  # the server for pictures has a parser of its own
        known = tuple(parameter for parameter in request.parameters if parameter.known)
        launch = Sglang().launch(replace(request, files_dir=folder, parameters=known))
        for file in launch.files:
            file.path.write_text(file.text)
        launches[name] = list(launch.argv if request.image else launch.argv[2:])
    done = subprocess.run(
        [str(PYTHON), "-c", _PARSER], input=json.dumps(launches), capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, done.stderr[-2000:]
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_sglangs_own_parser_takes_every_launch(parser: dict[str, Any]) -> None:
    """
    Every launch on file is taken, and address, model, key, fraction and members are read as they are meant.
    """
    for name, read in parser["parsed"].items():
        request = GOLDEN[name]
        assert (str(request.model_path), request.listen_address, request.port) == (
            read["model_path"],
            read["host"],
            read["port"],
        ), name
        assert (request.api_key or None) == read["api_key"], name
        assert request.served_model_name == read["served_model_name"], name
        assert (len(request.gang.members) if request.gang else 1) == read["nnodes"], name
    parsed = parser["parsed"]
    assert parsed["embedding"]["is_embedding"]
    assert ["law=/models/law", "med=/models/med"] == parsed["lora"]["lora_paths"]
    assert ("10.7.0.1:40100", 1) == (
        parsed["two-nodes-follower"]["dist_init_addr"],
        parsed["two-nodes-follower"]["node_rank"],
    )


def test_every_option_of_the_table_is_sglangs(parser: dict[str, Any]) -> None:
    """
    Names and kinds of the table are those of the engine's parser, but for JSON in a text, and numbers such as 32k.
    """
    theirs = {name.removeprefix("--"): kind for name, kind in parser["options"].items()}
    texts = {"json-model-override-args", "max-prefill-tokens", "max-total-tokens"}

    assert OLDER == {option.name for option in OPTIONS} - set(theirs)
    differing = {
        option.name: theirs[option.name]
        for option in OPTIONS
        if option.name in theirs and theirs[option.name] != option.kind.value and option.name not in texts
    }
    assert {} == differing
    assert {"tp", "pp", "dp"} == {alias for option in OPTIONS for alias in option.aliases} - set(theirs)
