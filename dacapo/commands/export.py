"""The command that hands a model to other programs."""

from __future__ import annotations

from pathlib import Path

import click

from dacapo.commands import parameters as given


@click.command(cls=given.Command)
@given.run_name
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write; by default RUN.zip or RUN.onnx.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["bioimageio", "onnx"]),
    default=None,
    show_default="by the suffix of the output, or else bioimageio",
    help="A bioimage.io package, or a plain ONNX file.",
)
@click.option(
    "-i", "--iteration", type=click.IntRange(0), metavar="NUMBER", help="Checkpoint to export; by default the best."
)
@click.option("--title", metavar="TEXT", help="Title of the package.")
@click.option("--author", "authors", multiple=True, metavar="NAME", help="Author of the package; may be repeated.")
@click.option("--license", "license_", metavar="SPDX", help="License of the package, such as CC-BY-4.0.")
@click.option("-ow", "--overwrite/--no-overwrite", default=False, help="Replace the file if it exists.")
def export(
    run_name: str,
    output: Path | None = None,
    format_: str | None = None,
    iteration: int | None = None,
    title: str | None = None,
    authors: tuple[str, ...] = (),
    license_: str | None = None,
    overwrite: bool = False,
) -> None:
    """Export the model of RUN_NAME as a bioimage.io package or an ONNX file."""
    from dacapo.export import export_model

    path = export_model(
        run_name,
        output,
        format_,
        iteration=iteration,
        title=title,
        authors=authors,
        license=license_,
        overwrite=overwrite,
    )
    click.echo(str(path))


COMMANDS = (export,)
