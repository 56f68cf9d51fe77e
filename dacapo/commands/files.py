"""The commands about files: info, convert."""

from __future__ import annotations

import json
from typing import Any

import click

from dacapo.commands import parameters as given
from dacapo.commands.reading import reading_options
from dacapo.utils.paths import shown


@click.command(cls=given.Command)
@click.argument("path")
@click.option("-d", "--dataset", metavar="NAME", help="Group or dataset inside the container.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def info(path: str, dataset: str | None = None, as_json: bool = False) -> None:
    """Describe the arrays of a file or container: axes, shapes, chunks, types, voxel sizes, units and levels.

    PATH is a file, a container, or the path of a group or dataset inside a container, such as cells.zarr/volumes/raw.
    """
    from dacapo.info import info as describe

    described = describe(path, dataset)
    click.echo(json.dumps(described.as_plain(), indent=2, ensure_ascii=False) if as_json else str(described))


@click.command(cls=given.Command)
@click.argument("input_path", metavar="IN")
@click.argument("output_path", metavar="OUT")
@click.option("-id", "--input-dataset", metavar="NAME", help="Dataset inside the input, where IN does not name it.")
@click.option("-od", "--output-dataset", metavar="NAME", help="Dataset inside the output; by default as in the input.")
@click.option(
    "-f",
    "--format",
    "file_format",
    type=click.Choice(["zarr2", "zarr3", "n5", "tiff", "hdf5", "precomputed", "png", "tiff-planes"]),
    show_default="from the end of the name, zarr2 for .zarr",
    help="Format of the output; zarr2 and zarr3 are OME-NGFF 0.4 and 0.5.",
)
@click.option(
    "--labels/--intensities",
    default=None,
    show_default="by the data type",
    help="Whether smaller levels have the most frequent value or the mean.",
)
@reading_options
@given.roi_option("-roi", "--roi")
@click.option(
    "-w", "--num-workers", type=click.IntRange(1), default=1, metavar="NUMBER", help="Maximum number of processes."
)
@given.pyramid
@given.overwrite
def convert(
    input_path: str,
    output_path: str,
    reading: dict[str, Any],
    roi: Any = None,
    input_dataset: str | None = None,
    output_dataset: str | None = None,
    file_format: str | None = None,
    labels: bool | None = None,
    num_workers: int = 1,
    pyramid: bool = True,
    overwrite: bool = False,
) -> None:
    """Convert the array IN to the format of OUT, block by block. The same command resumes an interrupted conversion.

    IN is anything that dacapo reads. OUT is a file or container, or the path of a dataset inside a container, such as
    cells.zarr/raw; the end of its name selects the format: .zarr, .n5, .tif, .h5.
    """
    from dacapo.convert import convert as convert_array

    written = convert_array(
        input_path,
        output_path,
        input_dataset,
        output_dataset,
        file_format=file_format,
        labels=labels,
        num_workers=num_workers,
        overwrite=overwrite,
        pyramid=pyramid,
        roi=roi,
        **reading,
    )
    click.echo(shown(written.container / written.dataset))


COMMANDS = (info, convert)
