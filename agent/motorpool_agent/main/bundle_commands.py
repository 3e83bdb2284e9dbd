"""The commands of bundles: made where there is a network, installed where there is none."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated

import typer

from motorpool_agent.config import load
from motorpool_agent.main import bundles

Run = Callable[[Callable[[], Coroutine[None, None, None]]], None]
ConfigFile = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="TOML file, as for `run`.")]
DataDir = Annotated[str | None, typer.Option("--data-dir", metavar="DIR", help="Where the agent keeps its state.")]
CacheDir = Annotated[str | None, typer.Option("--cache-dir", metavar="DIR", help="Where downloads are kept.")]
ModelDir = Annotated[str | None, typer.Option("--model-dir", metavar="DIR", help="Where models are kept.")]


def add_to(app: typer.Typer, run: Run) -> None:
    """Put the commands on the application; ``run`` carries one out."""
    group = typer.Typer(help="What a node without a network needs, in one file.", no_args_is_help=True)
    app.add_typer(group, name="bundle")

    @group.command("create")
    def create(
        file: Annotated[Path, typer.Option("--file", "-o", metavar="FILE", help="The bundle to write.")],
        model: Annotated[
            list[str] | None, typer.Option(help="A model that this node fetched, by repository or id; repeatable.")
        ] = None,
        engine: Annotated[list[str] | None, typer.Option(help="BACKEND or BACKEND==VERSION; repeatable.")] = None,
        agent: Annotated[
            bool, typer.Option("--agent/--no-agent", help="The agent and its plugins; default: yes.")
        ] = True,
        find_links: Annotated[
            list[Path] | None, typer.Option(metavar="DIR", help="Folder of wheels beside pip's index; repeatable.")
        ] = None,
        config: ConfigFile = None,
        data_dir: DataDir = None,
        cache_dir: CacheDir = None,
        model_dir: ModelDir = None,
    ) -> None:
        """Write models, engines and the agent to one file, each with its digest."""
        settings = {"data_dir": data_dir, "cache_dir": cache_dir, "model_dir": model_dir}
        run(
            lambda: bundles.create(
                load(settings, file=config),
                file,
                models=model or [],
                engines=engine or [],
                find_links=find_links or [],
                with_agent=agent,
                say=typer.echo,
            )
        )

    @group.command("install")
    def install(
        file: Annotated[Path, typer.Argument(help="The bundle.")],
        config: ConfigFile = None,
        data_dir: DataDir = None,
        cache_dir: CacheDir = None,
        model_dir: ModelDir = None,
    ) -> None:
        """Verify all of a bundle, then put in its models and engines; needs no network, and no agent that runs."""
        settings = {"data_dir": data_dir, "cache_dir": cache_dir, "model_dir": model_dir}
        run(lambda: bundles.install(load(settings, file=config), file, typer.echo))
