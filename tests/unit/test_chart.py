"""Charts as SVG."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dacapo.web.chart import HEIGHT, LEFT, WIDTH, Line, line_chart, log_ticks, ticks

SVG = "{http://www.w3.org/2000/svg}"


def parsed(*lines: Line, **settings: object) -> ElementTree.Element:
    return ElementTree.fromstring(f"<div>{line_chart(lines, 'iteration', 'loss', **settings)}</div>")


def line(values: list[float], name: str = "run", **more: object) -> Line:
    return Line(name, np.arange(len(values)), np.array(values), **more)


def places(chart: ElementTree.Element) -> list[list[tuple[float, float]]]:
    found = [element.attrib["points"] for element in chart.iter("polyline")]
    return [[tuple(map(float, place.split(","))) for place in one.split()] for one in found]


def test_points_are_where_values_are() -> None:
    ((first, middle, last),) = places(parsed(line([0.0, 5.0, 10.0])))
    assert first[0] == LEFT
    assert first[1] > middle[1] > last[1] > 0
    assert middle[0] - first[0] == pytest.approx(last[0] - middle[0], abs=0.2)
    assert middle[1] - first[1] == pytest.approx(last[1] - middle[1], abs=0.2)


def test_missing_values_leave_a_gap() -> None:
    assert [len(part) for part in places(parsed(line([1, 2, np.nan, 4, 5, np.inf, 7])))] == [2, 2]


def test_nothing_to_show() -> None:
    assert parsed().find("p").attrib["class"] == "empty"
    assert parsed(line([np.nan])).find("p") is not None


def test_names_are_escaped() -> None:
    name = '</svg><script>alert(1)</script>" onload="x'
    chart = parsed(line([1.0, 2.0], name))
    assert [element.tag for element in chart.iter() if "script" in element.tag] == []
    assert all("onload" not in element.attrib for element in chart.iter())
    assert json.loads(chart.find("svg").attrib["data-lines"])[0]["name"] == name


def test_values_for_the_pointer() -> None:
    (shown,) = json.loads(parsed(line([1.0, np.nan, 3.123456789])).find("svg").attrib["data-lines"])
    assert (shown["x"], shown["y"]) == ([0, 2], [1.0, 3.1235])
    assert len(shown["px"]) == 2


def test_wide_ranges_get_a_logarithmic_scale() -> None:
    assert "(log)" in line_chart([line([1.0, 1000.0])], "iteration", "loss")
    assert "(log)" not in line_chart([line([1.0, 1000.0])], "iteration", "loss", "linear")
    assert "(log)" not in line_chart([line([-1.0, 1000.0])], "iteration", "loss", "log")


def test_the_best_is_marked() -> None:
    chart = parsed(line([1.0, 2.0, 3.0], marked=1), points=True)
    kinds = [element.attrib.get("class") for element in chart.iter("circle")]
    assert (len(kinds), kinds.count("best")) == (4, 1)


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=30),
    st.sampled_from(["auto", "linear", "log"]),
)
def test_any_values_give_a_chart(values: list[float], scale: str) -> None:
    with np.errstate(all="ignore"):
        chart = parsed(line(values, low=np.array(values), high=np.array(values)), scale=scale, points=True)
    for part in places(chart):
        assert all(-2 * WIDTH < x < 3 * WIDTH and -2 * HEIGHT < y < 3 * HEIGHT for x, y in part)


@given(st.floats(1e-9, 1e9), st.floats(1.01, 1e6))
def test_ticks_are_few_and_inside(low: float, factor: float) -> None:
    high = low * factor
    for found in (ticks(low, high), log_ticks(low, high)):
        assert len(found) <= 9
        assert all(low * (1 - 1e-6) - 1e-9 <= tick <= high * (1 + 1e-6) + 1e-9 for tick in found)
