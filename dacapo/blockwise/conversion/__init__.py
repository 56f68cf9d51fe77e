"""Conversion of arrays between file formats, block by block."""

from .layout import Layout
from .operation import Copy, Export
from .writers import WRITERS, Writer

__all__ = ["WRITERS", "Copy", "Export", "Layout", "Writer"]
