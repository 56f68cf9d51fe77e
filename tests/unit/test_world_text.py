"""Regions and extents as text."""

from __future__ import annotations

import pytest
from funlib.geometry import Coordinate, Roi

from dacapo.errors import RoiError
from dacapo.utils.world_text import parse_extent, parse_roi


@pytest.mark.parametrize(
    ("text", "roi"),
    [
        ("[0:80,0:80,0:80]", Roi((0, 0, 0), (80, 80, 80))),
        (" [ -40:400, 0 : 1000 ] ", Roi((-40, 0), (440, 1000))),
        ("0:80,8:16", Roi((0, 8), (80, 8))),
        (Roi((0,), (5,)), Roi((0,), (5,))),
        (None, None),
    ],
)
def test_a_region(text: str, roi: Roi) -> None:
    assert parse_roi(text) == roi


@pytest.mark.parametrize(
    "text", ["", "[]", "1-2", "[0:80,0:80", "0:80]", "[0:80;0:80]", "[0:8.5]", "[0:80,]", "[:80]", 5]
)
def test_text_that_is_no_region(text: str) -> None:
    with pytest.raises(RoiError, match="is not begin:end per axis in world units"):
        parse_roi(text)


@pytest.mark.parametrize("text", ["[0:80,80:80]", "[80:0]"])
def test_an_empty_region(text: str) -> None:
    with pytest.raises(RoiError, match="is empty"):
        parse_roi(text)


@pytest.mark.parametrize("text", ["[4,5,6]", "(4, 5, 6)", " 4,5,6 ", Coordinate(4, 5, 6)])
def test_an_extent(text: str) -> None:
    assert parse_extent(text) == Coordinate(4, 5, 6)
    assert parse_extent(None) is None


@pytest.mark.parametrize("text", ["", "4;5", "[4,5", "4.5", "[-4,5]", "(4,5]", 5])
def test_text_that_is_no_extent(text: str) -> None:
    with pytest.raises(RoiError, match="is not an extent per axis in world units"):
        parse_extent(text)
