"""Parameters of commands: those that work as an argument or an option, and those that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from dacapo.commands.reading import reading_options
from dacapo.errors import DacapoError, RoiError
from dacapo.utils.symmetries import NONE, TTA

# Both spellings of a name work: --num-workers and --num_workers.
SETTINGS: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "show_default": True,
    "token_normalize_func": lambda name: name.replace("_", "-"),
}

OVERWRITE_HELP = (
    "Start over, replacing earlier results of dacapo. By default an interrupted command resumes, and results of "
    "different parameters are an error."
)
MAX_MEMORY_HELP = (
    "Limit on the memory of all processes together, including GPU memory, such as 8GB; determines the size of blocks, "
    "and the number of workers if not all of them fit."
)

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def complete_runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of stored runs that begin with what is typed, for the completion of a shell."""
    from dacapo.options import Options
    from dacapo.store.create_store import create_config_store

    folder = ctx.find_root().params.get("runs_dir")
    try:
        with Options.override(**({} if folder is None else {"runs_base_dir": folder})):
            names = create_config_store().retrieve_run_config_names()
    except DacapoError:  # a message would end up between what the user types
        return []
    return [name for name in names if name.startswith(incomplete)]


class ByPlaceOrName(click.Option):
    """A parameter that is given by name, or as a positional argument."""

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        """Take the first remaining argument, unless the name was given."""
        if self.name not in opts and args and not (ctx.ignore_unknown_options and args[0].startswith("-")):
            opts, args = {**opts, str(self.name): args[0]}, args[1:]
        elif self.name not in opts and not ctx.resilient_parsing:
            raise click.UsageError(f"Missing {self.metavar}: give it as an argument, or as {self._names()}.", ctx)
        return super().handle_parse_result(ctx, opts, args)

    def get_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Show the argument in the usage line."""
        return [str(self.metavar)]

    def _names(self) -> str:
        return "/".join(self.opts)


class Command(click.Command):
    """A command with parameters that are given as arguments or by name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; list the surplus ones in the error if there are too many."""
        takes_any, ctx.allow_extra_args = ctx.allow_extra_args, True
        left = super().parse_args(ctx, args)
        ctx.allow_extra_args = takes_any
        if left and not takes_any and not ctx.resilient_parsing:
            expected = " ".join(self.collect_usage_pieces(ctx)[1:])
            ctx.fail(
                f"Got too many arguments, {' '.join(left)!r} {'is' if len(left) == 1 else 'are'} left over. Expected "
                f"{expected or 'none'}, each once, as an argument or by name."
            )
        return left

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the first argument that is missing, or the name of an option."""
        for parameter in self.get_params(ctx):
            if isinstance(parameter, ByPlaceOrName) and ctx.params.get(parameter.name or "") is None:
                found = [] if incomplete.startswith("-") else parameter.shell_complete(ctx, incomplete)
                return found + super().shell_complete(ctx, incomplete)
        return super().shell_complete(ctx, incomplete)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the arguments separately from the options."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments, by position or by name": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                first, second = sections.values()
                (first if isinstance(parameter, ByPlaceOrName) else second).append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def by_place_or_name(*names: str, **attributes: Any) -> Decorator:
    """Add a required parameter, given as an argument or by one of its names, such as ``--run-name``."""
    longest = max(names, key=len)
    metavar = longest.lstrip("-").replace("-", "_").upper()
    return click.option(*names, cls=ByPlaceOrName, metavar=metavar, show_default=False, **attributes)


def several(*decorators: Decorator) -> Decorator:
    """Combine decorators, the first one outermost."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def _parsed_by(parse: Callable[[str | None], Any]) -> Callable[..., Any]:
    """Return a callback that reports a parse error in the way of click."""

    def callback(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
        try:
            return parse(value)
        except RoiError as error:
            raise click.BadParameter(str(error)) from None

    return callback


def _roi(value: str | None) -> Any:
    from dacapo.utils.world_text import parse_roi

    return parse_roi(value)


def _extent(value: str | None) -> Any:
    from dacapo.utils.world_text import parse_extent

    return parse_extent(value)


def roi_option(*names: str, default: str = "all by default") -> Decorator:
    """Add an option for a region, as ``[begin:end,...]`` in world units or lengths."""
    return click.option(
        *names,
        callback=_parsed_by(_roi),
        metavar="ROI",
        help=f"Region, as [begin:end,...] in world units or as [0:1.5um,...]; {default}.",
    )


def extent_option(*names: str, **attributes: Any) -> Decorator:
    """Add an option for an extent, as ``[z,y,x]`` in world units or lengths."""
    return click.option(*names, callback=_parsed_by(_extent), metavar="[Z,Y,X]", **attributes)


run_name = by_place_or_name("-r", "--run-name", help="Name of a stored run.", shell_complete=complete_runs)

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")

iteration = by_place_or_name("-i", "--iteration", type=click.IntRange(0), help="Iteration of the checkpoint.")

inputs = several(
    by_place_or_name(
        "-ic", "--input-container", type=click.Path(path_type=Path), help="File, container or URL, in any format."
    ),
    by_place_or_name("-id", "--input-dataset", help="Dataset inside it; . for files of one array."),
)

outputs = several(
    by_place_or_name("-oc", "--output-container", type=click.Path(path_type=Path), help="Container to write to."),
    by_place_or_name("-od", "--output-dataset", help="Dataset to write inside the container."),
)

output_path = by_place_or_name(
    "-op",
    "--output-path",
    type=click.Path(path_type=Path),
    help="Container for results, or a folder to create a container of the input's name in.",
)

output_dtype = click.option(
    "-dt",
    "--output-dtype",
    default="uint8",
    metavar="DTYPE",
    help="Data type of the prediction, such as uint8 or float32; values are scaled to the range of an integer type.",
)

overwrite = click.option("-ow", "--overwrite/--no-overwrite", default=False, help=OVERWRITE_HELP)

max_memory = click.option("--max-memory", metavar="SIZE", help=MAX_MEMORY_HELP)

num_workers = click.option(
    "-w",
    "--num-workers",
    type=click.IntRange(1),
    metavar="NUMBER",
    show_default="one process for the network, or up to 4 workers per GPU if several; 30 otherwise, and on a cluster",
    help="Maximum number of worker processes; on this machine at most its number of cores.",
)

pyramid = click.option(
    "--pyramid/--no-pyramid",
    default=True,
    help="Whether to write smaller levels of the result for viewers.",
)

tta = click.option(
    "--tta",
    type=click.Choice(TTA),
    default=NONE,
    help="Test-time augmentation: average the predictions for mirrored raw data (flips), and for raw data turned by 90 "
    "degrees too (turns).",
)

# Parameters that predict and apply share.
prediction = several(
    inputs,
    reading_options,
    output_path,
    num_workers,
    max_memory,
    click.option(
        "--precision",
        type=click.Choice(["float32", "bfloat16"]),
        default="float32",
        help="Precision of the network; bfloat16 is faster and less exact.",
    ),
    tta,
    output_dtype,
    click.option(
        "--file-format",
        type=click.Choice(["zarr", "zarr3"]),
        default="zarr",
        help="Format of a new container: OME-NGFF 0.4 in Zarr v2, or 0.5 in Zarr v3 with shards.",
    ),
    pyramid,
    overwrite,
)
