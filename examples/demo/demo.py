"""`make demo`: a real language model, placed by a controller and launched by an agent, answers a question.

Everything runs on loopback below .demo/, and is stopped at the end; KEEP=1 leaves it running. The exit code is 0
only if the answer came from the endpoint that the controller reported, and the host shows the process it reported.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from examples.demo.cluster import Cluster, DemoError
from examples.demo.model import fetch

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("DEMO_DIR", ROOT / ".demo")).resolve()
NODE, NAME = "demo", "smollm2"
QUESTION = "What is the capital of France?"


def main() -> int:
    """Run the demo and return its exit code."""
    begin = time.monotonic()
    keep = os.environ.get("KEEP", "") not in {"", "0"}
    cluster = Cluster(FOLDER)
    failed = True
    try:
        _run(cluster)
        failed = False
    except DemoError as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
    finally:
        if keep and not failed:
            _print_next(cluster)
        else:
            _stop(cluster)
    if not failed:
        print(f"\nThe demo took {time.monotonic() - begin:.1f} s.")
    return int(failed)


def _run(cluster: Cluster) -> None:
    cluster.check_unused()
    _say("Fetching SmolLM2-135M-Instruct (98 MB, once)")
    model = fetch(ROOT / ".cache" / "models")
    _say("Making a cluster: authority, store, tokens")
    token = cluster.init()
    _say(f"Starting the controller on 127.0.0.1:{cluster.public_port}")
    cluster.start_controller()
    _say("Starting an agent, which enrols with a join token")
    cluster.start_agent(token, NODE)
    cluster.motorpool("deploy", NAME, "--model", str(model), "--wait")

    credentials = cluster.answer("endpoint", NAME)
    endpoint, _ = _ask(credentials)
    _check(cluster, endpoint)

    cluster.motorpool("nodes")
    cluster.motorpool("ps")
    _say("A second deployment claims more memory than any machine here has: it stands, and says why it waits")
    cluster.motorpool("deploy", "too-large", "--model", str(model), "--memory", "4TiB")
    _wait_for_refusal(cluster)
    cluster.motorpool("explain", "too-large")


def _say(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _ask(credentials: dict[str, Any]) -> tuple[str, str]:
    endpoint = credentials["endpoints"][0]
    _say(f"Asking at {endpoint}, as the controller reports it: {QUESTION}")
    request = urllib.request.Request(  # noqa: S310 - the controller reports http addresses only
        f"{endpoint}/v1/chat/completions",
        json.dumps(
            {
                "model": credentials["served_model_name"],
                # Without a system message the model's own template adds one that this quantisation trips over.
                "messages": [
                    {"role": "system", "content": "You are a helpful assistant."},
                    {"role": "user", "content": QUESTION},
                ],
                "stream": True,
                "temperature": 0,
                "max_tokens": 48,
            }
        ).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {credentials['api_key']}"},
    )
    answer = ""
    try:
        # No proxy: the endpoint is on this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=120) as response:
            for line in response:
                data = line.decode().removeprefix("data:").strip()
                if data and data != "[DONE]":
                    piece = json.loads(data)["choices"][0]["delta"].get("content") or ""
                    print(piece, end="", flush=True)
                    answer += piece
    except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
        raise DemoError(f"no answer came from {endpoint}: {error}") from None
    print()
    if not answer.strip():
        raise DemoError(f"{endpoint} answered with nothing")
    return endpoint, answer


def _check(cluster: Cluster, endpoint: str) -> None:
    """Hold what the controller reports against what the host shows."""
    listed: Any = cluster.answer("ps", "--deployment", NAME)["instances"]
    (instance,) = listed
    (member,) = instance["placement"]["members"]
    pid, claimed = int(instance["pid"]), int(member["claim"]["memory_bytes"])
    try:
        process = psutil.Process(pid)
        resident = process.memory_info().rss
        listening = {c.laddr.port for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN}
        with Path(f"/proc/{pid}/stat").open(encoding="utf-8") as stat:
            ticks = int(stat.read().rsplit(")", 1)[1].split()[19])
    except (psutil.Error, OSError) as error:
        raise DemoError(f"the controller reports pid {pid} for {instance['name']}; this host shows: {error}") from None
    nodes: Any = cluster.answer("nodes")["nodes"]
    facts = {
        f"the instance is on nodes/{NODE}": member["node"] == f"nodes/{NODE}",
        f"process {pid} started at the reported tick": ticks == int(instance["pid_start_ticks"]),
        f"process {pid} runs the reported command": process.cmdline() == instance["launch"]["argv"],
        f"process {pid} listens on the endpoint's port": int(endpoint.rsplit(":", 1)[1]) in listening,
        f"it holds {resident >> 20} MiB, within its claim of {claimed >> 20} MiB": resident <= claimed,
        "the node's claims are that claim": int(nodes[0]["claimed_memory_bytes"]) == claimed,
    }
    _say("Holding what the controller reports against this host")
    for fact, holds in facts.items():
        print(f"  {'yes' if holds else 'NO '}  {fact}")
    if not all(facts.values()):
        raise DemoError("the controller and this host disagree, see above")


def _wait_for_refusal(cluster: Cluster) -> None:
    def decided() -> bool:
        listed: Any = cluster.answer("ps", "--deployment", "too-large").get("instances", [])
        reasons = {refusal["reason"] for instance in listed for refusal in instance.get("refusals", [])}
        return bool(reasons) and "MODEL_NOT_READ_YET" not in reasons

    cluster.wait("controller", "the second deployment to be refused", decided)


def _stop(cluster: Cluster) -> None:
    if not cluster.pids():
        return
    _say("Stopping what was started")
    if "agent" in cluster.pids():
        for name in (NAME, "too-large"):
            try:
                cluster.answer("delete", name, "--wait")
            except DemoError as error:
                if "NOT_FOUND" not in str(error):
                    print(error, file=sys.stderr)
    cluster.stop()


def _print_next(cluster: Cluster) -> None:
    (FOLDER / "pids.json").write_text(json.dumps(cluster.pids()), encoding="ascii")
    command = shutil.which("motorpool", path=str(Path(sys.executable).parent))
    print(
        f"\nLeft running (KEEP): {', '.join(f'{name} (pid {pid})' for name, pid in cluster.pids().items())}.\n"
        f"  export MOTORPOOL_CONFIG={cluster.client_file}\n"
        f"  alias motorpool={command}\n"
        "  motorpool ps\n"
        f"  motorpool endpoint {NAME}\n"
        f"  motorpool logs {NAME} --follow\n"
        f"  motorpool delete {NAME} --wait    # the model's process stops\n"
        f"  kill {' '.join(str(pid) for pid in cluster.pids().values())}    # the agent and the controller stop"
    )


if __name__ == "__main__":
    sys.exit(main())
