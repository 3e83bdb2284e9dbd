"""model inspect: what a model is, what it needs and what can run it, before anything does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated

import grpc
import typer

from motorpool import v1
from motorpool_cli import text
from motorpool_cli.client import Client
from motorpool_cli.context import Output, client, complete_node
from motorpool_cli.failures import CommandError, Exit
from motorpool_cli.output import Format, errors, note, plain, print_document, print_facts, print_table, say
from motorpool_cli.sources import complete_source, source_of, words

BAR_CHARACTERS = 40
_BLOCKS = " ▏▎▍▌▋▊▉█"

model_app = typer.Typer(help="Models, before anything runs them.", no_args_is_help=True, rich_markup_mode=None)


def add_to(app: typer.Typer) -> None:
    """Put this file's commands on the application."""
    app.add_typer(model_app, name="model")


@model_app.command("inspect")
def inspect(
    source: Annotated[
        str,
        typer.Argument(
            help="/path on nodes, hf:OWNER/NAME[:FILE][@REVISION], ms:OWNER/NAME…, or OWNER/NAME.",
            autocompletion=complete_source,
        ),
    ],
    parameters: Annotated[
        list[str] | None, typer.Argument(help="After `--`: arguments of the engine, to estimate with.")
    ] = None,
    node: Annotated[
        str, typer.Option(help="Node that has the path; all are asked when left out.", autocompletion=complete_node)
    ] = "",
    backend: Annotated[str, typer.Option(help="Backend to estimate for; chosen by the model when left out.")] = "",
    context: Annotated[
        list[int] | None, typer.Option("--context", help="Tokens of context to estimate for; may be repeated.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(parser=text.parse_duration, metavar="TIME", help="How long to wait, e.g. 90s or 5m.")
    ] = 180,
    output: Output = Format.TABLE,
) -> None:
    """Read a model's headers where it lies: what it is, what it needs, and which backends can run it."""
    with client(output) as connected:
        request = v1.InspectModelRequest(
            source=source_of("SOURCE", source),
            node=text.full("nodes", node) if node else "",
            backend=backend,
            parameters=parameters or [],
            context_lengths=context or [],
        )
        found = _read(connected, request, timeout, output)
        if output is Format.TABLE:
            _print(found)
        else:
            print_document(plain(found), output)


def _read(
    connected: Client, request: v1.InspectModelRequest, timeout_seconds: float, output: Format
) -> v1.ModelInspection:
    status = errors.status("asking") if output is Format.TABLE and errors.is_terminal else None
    if status:
        status.start()
    doing = ""
    try:
        for step in connected.models.InspectModel(request, timeout=timeout_seconds):
            if step.HasField("result"):
                return step.result
            doing = text.printable(_doing(step.progress))
            if status:
                status.update(doing)
    except grpc.RpcError as error:
        # Before the first step it is the controller that is slow.
        if not doing or not isinstance(error, grpc.Call) or error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
            raise
        raise CommandError(
            Exit.FAILED,
            "WAIT_TIMEOUT",
            f"The model was not read within {timeout_seconds:g} s; waited for {doing}. Try again, or give it longer "
            "with --timeout.",
        ) from None
    finally:
        if status:
            status.stop()
    raise CommandError(Exit.FAILED, "INTERNAL", "The controller ended its answer without a result; look at its log.")


def _doing(progress: v1.InspectionProgress) -> str:
    requests = "1 request" if progress.requests == 1 else f"{progress.requests} requests"
    read = f", {text.size(progress.fetched_bytes)} in {requests}" if progress.requests else ""
    return f"{progress.asked}: {progress.file or 'asking'}{read}"


def _print(found: v1.ModelInspection) -> None:
    print_facts(_facts(found))
    if found.facts.HasField("roles"):
        say()
        say("Bytes by role", style="bold")
        _print_roles(found.facts.roles)
    for heading, parts in (
        ("Parts", [(part.component, part.type, part.weight_bytes, part) for part in found.facts.components]),
        ("Beside it", [(part.kind, part.file, part.weight_bytes, part) for part in found.facts.companions]),
    ):
        if parts:
            say()
            print_table(
                (heading.upper(), "", "WEIGHTS"),
                (
                    (name, what, text.size(size if part.HasField("weight_bytes") else None))
                    for name, what, size, part in parts
                ),
                empty="",
            )
    if found.estimates:
        say()
        say(f"What an instance needs with {found.backend}", style="bold")
        print_table(
            ("CONTEXT", "HOST ONLY", "ON A DEVICE", "WEIGHTS", "KV CACHE", "BUFFERS", "ENGINE", "SURE"),
            (_estimate(each) for each in found.estimates),
            empty="",
        )
    say()
    print_table(
        ("BACKEND", "RUNS IT", "NODES", "WHY"),
        (
            (
                verdict.backend,
                "yes" if verdict.fits else "no",
                ", ".join(text.bare(name) for name in verdict.nodes),
                verdict.message,
            )
            for verdict in found.backends
        ),
        empty="No node offers a backend yet; `motorpool plugins` shows what became of each node's plugins.",
    )
    for finding in found.findings:
        note(f"note: {finding}")


def _facts(found: v1.ModelInspection) -> Iterator[tuple[str, str]]:
    facts = found.facts

    def number(field: str, unit: str = "") -> str:
        return f"{getattr(facts, field)}{unit}" if facts.HasField(field) else ""  # type: ignore[arg-type]  # a field's name

    fetched = f", {text.size(found.fetched_bytes)} fetched" if found.fetched_bytes else ""
    yield "Model", words(found.source)
    yield "Read from", f"{found.read_from}{fetched}"
    yield "Commit", found.commit
    yield "Name", facts.display_name
    yield "Format", _joined(facts.format, facts.architecture, facts.quantization, facts.dtype)
    yield "Classes", _joined(*facts.architectures)
    yield "For", _joined(", ".join(facts.categories), _senses(facts))
    yield "Parameters", _parameters(facts)
    yield "Weights", text.size(facts.weight_bytes if facts.HasField("weight_bytes") else None)
    if facts.files:
        more = f" and {len(facts.files) - 1} more" if facts.files[1:] else ""
        yield "Files", f"{facts.files[0]}{more}, {text.size(facts.file_bytes)}"
    yield "Layers", _joined(number("layers"), _kinds(facts.layer_kinds))
    yield "Hidden size", number("hidden_size")
    yield (
        "Heads",
        _joined(_each(facts.heads), f"({_each(facts.kv_heads)} for keys and values)" if facts.kv_heads else ""),
    )
    yield "Head sizes", _listed(number("key_length", " key"), number("value_length", " value"))
    if facts.HasField("latent"):
        yield "Latent", f"rank {facts.latent.kv_rank}, position {facts.latent.rope_dimension}"
    yield "Experts", _listed(number("experts"), number("experts_used", " used"), number("experts_shared", " shared"))
    yield "Window", number("sliding_window", " tokens")
    yield "Vision heads", number("vision_heads")
    yield "Audio heads", number("audio_heads")
    yield "Vocabulary", number("vocabulary_size")
    yield "Context", number("context_length", " tokens")
    yield "Chat template", ("yes" if facts.chat_template else "no") if facts.HasField("chat_template") else ""
    yield "Digest", facts.digest


def _print_roles(roles: v1.RoleBytes) -> None:
    parts = [(field.name, size) for field, size in roles.ListFields() if size]
    total = sum(size for _, size in parts)
    longest = max((size for _, size in parts), default=0)
    width = max((len(name) for name, _ in parts), default=0)
    for name, size in parts:
        bar = _bar(size / longest)
        say(f"  {name:<{width}}  {bar:<{BAR_CHARACTERS}}  {text.size(size):>9}  {text.ratio(size / total):>5}")


def _bar(share: float) -> str:
    """Return a bar of at most so many characters, to an eighth of one."""
    eighths = round(share * BAR_CHARACTERS * 8)
    return ("█" * (eighths // 8) + _BLOCKS[eighths % 8]).rstrip() or "▏"


def _estimate(estimate: v1.ContextEstimate) -> tuple[str, ...]:
    host = estimate.host
    return (
        str(estimate.context_length) if estimate.HasField("context_length") else text.UNKNOWN,
        _range(host),
        _range(estimate.device),
        text.size(host.weights_bytes if host.HasField("weights_bytes") else None),
        text.size(host.kv_bytes if host.HasField("kv_bytes") else None),
        text.size(host.activations_bytes if host.HasField("activations_bytes") else None),
        text.size(host.runtime_bytes if host.HasField("runtime_bytes") else None),
        text.word(v1.Confidence, host.confidence).lower() if host.confidence else text.UNKNOWN,
    )


def _range(estimate: v1.Estimate) -> str:
    """Return what is claimed, and the least it can be where that is another figure."""
    if not estimate.HasField("upper_bytes"):
        return text.UNKNOWN
    upper = text.size(estimate.upper_bytes)
    lower = text.size(estimate.lower_bytes) if estimate.HasField("lower_bytes") else upper
    return upper if lower == upper else f"{lower} to {upper}"


def _parameters(facts: v1.ModelFacts) -> str:
    if not facts.HasField("parameter_count"):
        return ""
    value, unit = float(facts.parameter_count), ""
    for larger in ("thousand", "million", "billion", "trillion"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.3g} {unit}".strip()


def _senses(facts: v1.ModelFacts) -> str:
    taken = [word for word, known in (("pictures", "vision_heads"), ("sound", "audio_heads")) if facts.HasField(known)]  # type: ignore[arg-type]  # a field's name
    return f"(takes {' and '.join(taken)})" if taken else ""


def _kinds(kinds: Iterable[v1.LayerKind.ValueType]) -> str:
    listed = [text.word(v1.LayerKind, kind).lower() for kind in kinds]
    counted = {kind: listed.count(kind) for kind in dict.fromkeys(listed)}
    return "" if set(counted) <= {"full"} else "(" + ", ".join(f"{n} {kind}" for kind, n in counted.items()) + ")"


def _each(values: Iterable[int]) -> str:
    """Return one number, or from the least to the most where layers differ."""
    found = sorted(set(values))
    if not found:
        return ""
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _listed(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)
