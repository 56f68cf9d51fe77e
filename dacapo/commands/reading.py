"""Options that say how to read a volume, in place of the metadata in its file."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click


class Numbers(click.ParamType[Any]):
    """Numbers for the axes of a volume, with or without brackets: ``5.24,4,4``."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the numbers as a list."""
        if not isinstance(value, str):
            return value
        try:
            return [float(part) if "." in part or "e" in part.lower() else int(part) for part in _parts(value)]
        except ValueError:
            self.fail(f"{value!r} is no list of numbers; write for example [40,4,4]", param, ctx)


def _parts(text: str) -> list[str]:
    return text.strip().removeprefix("[").removesuffix("]").split(",")


class Axes(click.ParamType[Any]):
    """Names of axes: ``czyx`` or ``c,z,y,x``."""

    name = "axes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the names as a list."""
        if not isinstance(value, str):
            return value
        return [name.strip() for name in _parts(value)] if "," in value else list(value.strip("[]"))


class Level(click.ParamType[Any]):
    """A level of an image, by its name or its voxel size."""

    name = "level"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the voxel size as a list, or the name."""
        return Numbers().convert(value, param, ctx) if isinstance(value, str) and "," in value else value


class Position(click.ParamType[Any]):
    """The index along an axis: ``t=0``."""

    name = "position"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the axis and the index."""
        if not isinstance(value, str):
            return value
        axis, _, index = value.partition("=")
        if not axis.strip() or not index.strip().removeprefix("-").isdecimal():
            self.fail(f"{value!r} is no position along an axis; write for example t=0", param, ctx)
        return axis.strip(), int(index)


_READING = ("axes", "voxel_size", "offset", "unit", "world_unit", "level", "select")


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say how to read a volume; the command gets those given as a dict ``reading``."""

    @functools.wraps(command)
    def with_reading(*args: Any, **kwargs: Any) -> Any:
        given = {name: kwargs.pop(name) for name in _READING}
        given["select"] = dict(given["select"]) or None
        given = {name: value for name, value in given.items() if value is not None}
        return command(*args, reading=given, **kwargs)

    options = (
        click.option("--axes", type=Axes(), metavar="AXES", help="Axes of the volume, such as czyx."),
        click.option("--voxel-size", type=Numbers(), metavar="[Z,Y,X]", help="Voxel size of the volume, in its unit."),
        click.option("--offset", type=Numbers(), metavar="[Z,Y,X]", help="Corner of the first voxel, in its unit."),
        click.option("--unit", metavar="UNIT", help="Unit of voxel size and offset, such as nm."),
        click.option("--world-unit", metavar="UNIT", help="Unit that world coordinates count, such as '0.01 nm'."),
        click.option("--level", type=Level(), metavar="LEVEL", help="Level of the image, by name or voxel size."),
        click.option(
            "--select",
            type=Position(),
            multiple=True,
            metavar="AXIS=INDEX",
            help="Position along an axis to drop: t=0.",
        ),
    )
    for option in reversed(options):
        with_reading = option(with_reading)
    return with_reading
