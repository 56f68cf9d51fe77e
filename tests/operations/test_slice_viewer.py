"""Sections in a real browser: as a file, and in the frame that notebooks show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dacapo
from dacapo.experiments.datasplits.datasets.arrays.slice_viewer import SliceViewer
from tests.helpers.browser import chromium, opened

COLOR_AT = """([id, x, y]) => {
    const image = document.getElementById(id), canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    return [...context.getImageData(x, y, 1, 1).data];
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def viewer() -> SliceViewer:
    """Return ten planes that become brighter along z, with one object in the second half."""
    raw = np.broadcast_to(np.arange(10)[:, np.newaxis, np.newaxis] * 25, (10, 20, 40)).astype(np.uint8)
    labels = np.zeros(raw.shape, np.uint16)
    labels[5:, 5:10, 5:10] = 3
    return dacapo.show_slices(raw, labels, voxel_size=(40, 8, 8), unit="nm")


def color(frame: Any, image: str, x: int = 0, y: int = 0) -> list[int]:
    frame.wait_for_function("id => document.getElementById(id).complete", arg=image)
    found: list[int] = frame.evaluate(COLOR_AT, [image, x, y])
    return found


def test_controls_choose_axis_section_and_opacity(browser: Any, viewer: SliceViewer, tmp_path: Path) -> None:
    viewer.save(tmp_path / "slices.html")
    with opened(browser) as page:
        page.goto((tmp_path / "slices.html").as_uri())
        assert page.locator("#place").inner_text() == "z 200 to 240 nm"
        assert color(page, "raw") == [141, 141, 141, 255]  # 125 of 0 to 225
        assert color(page, "labels", 7, 7)[3] == 255
        assert color(page, "labels", 2, 2)[3] == 0
        page.fill("#slice", "9")
        assert page.locator("#place").inner_text() == "z 360 to 400 nm"
        assert color(page, "raw")[:3] == [255] * 3
        page.fill("#opacity", "80")
        assert page.locator("#labels").evaluate("image => getComputedStyle(image).opacity") == "0.8"
        page.focus("#slice")
        page.keyboard.press("ArrowLeft")
        assert page.locator("#place").inner_text() == "z 320 to 360 nm"
        page.select_option("#axis", label="y")
        box = page.locator("#picture").bounding_box()
        assert box["width"] / box["height"] == pytest.approx(320 / 400, rel=0.01)
        assert color(page, "raw", 0, 9)[:3] == [255] * 3  # the last plane is the lowest row


def test_a_notebook_shows_it_in_a_frame_of_its_own(browser: Any, viewer: SliceViewer, tmp_path: Path) -> None:
    cells = "".join(viewer._repr_html_() for _ in range(2))
    (tmp_path / "exported.html").write_text(f"<h1 id='title'>Mine</h1>{cells}", encoding="utf-8")
    with opened(browser) as page:
        page.goto((tmp_path / "exported.html").as_uri())
        first, second = page.frames[1:]
        first.wait_for_selector("#place")
        first.fill("#slice", "0")
        assert first.locator("#place").inner_text() == "z 0 to 40 nm"
        assert second.locator("#place").inner_text() == "z 200 to 240 nm"
        assert page.locator("#title").inner_text() == "Mine"
        assert first.evaluate("document.documentElement.scrollHeight <= innerHeight")
