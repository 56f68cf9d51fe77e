"""Conversion of arrays between file formats, block by block."""

from .formats import WRITERS
from .layout import Layout
from .operation import Copy, Export
from .writers import Writer

__all__ = ["WRITERS", "Copy", "Export", "Layout", "Writer"]
