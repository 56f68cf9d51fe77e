"""The pages in a real browser, which may ask nobody but this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

import dacapo
from dacapo.dashboard import Dashboard
from dacapo.options import Options
from tests.helpers.browser import chromium, opened
from tests.helpers.pages import add_losses, served, store_run


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def dashboard(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    folder = tmp_path_factory.mktemp("browser")
    with Options.override(runs_base_dir=folder / "runs"):
        for number in range(12):
            store_run(folder, f"run{number}", 40 + number, batch_size=1 + number % 2)
        with served() as server:
            yield server


def names(page: Any) -> list[str]:
    return page.locator("tr[data-run] td.name a").all_inner_texts()


def wait_for_names(page: Any, count: int) -> None:
    page.wait_for_function("count => document.querySelectorAll('tr[data-run]').length === count", arg=count)


def test_a_filter_is_in_the_address_and_survives_a_reload(browser: Any, dashboard: Dashboard) -> None:
    with opened(browser) as page:
        page.goto(dashboard.url)
        assert names(page) == [f"run{number}" for number in range(12)]
        page.fill("#filter", "run1")
        wait_for_names(page, 3)
        assert page.evaluate("document.activeElement.id") == "filter"
        assert "q=run1" in page.url
        page.click("th a:has-text('Trained')")
        page.click("th a:has-text('Trained')")
        assert names(page) == ["run11", "run10", "run1"]
        page.reload()
        assert names(page) == ["run11", "run10", "run1"]
        assert page.input_value("#filter") == "run1"


def test_chosen_runs_are_compared(browser: Any, dashboard: Dashboard) -> None:
    with opened(browser) as page:
        page.goto(dashboard.url)
        assert page.is_disabled("#compare")
        page.check("[aria-label='Choose run2']")
        page.check("[aria-label='Choose run3']")
        page.wait_for_function("() => !document.querySelector('#compare').disabled")
        page.reload()
        assert page.is_checked("[aria-label='Choose run3']")
        page.click("#compare")
        page.wait_for_selector("h1:has-text('Comparison of 2 runs')")
        assert "trainer_config.batch_size" in page.inner_text("main")
        page.select_option("#criterion", "voi_merge")
        page.wait_for_selector("figcaption:has-text('voi_merge')")
        page.reload()
        assert page.input_value("#criterion") == "voi_merge"
        page.hover(".chart >> nth=0")
        tip = page.inner_text(".tip")
        assert "run2:" in tip
        assert "run3:" in tip


def test_keys(browser: Any, dashboard: Dashboard) -> None:
    with opened(browser) as page:
        page.goto(dashboard.url)
        for key in "jjkjx":
            page.keyboard.press(key)
        assert page.is_checked("[aria-label='Choose run1']")
        assert page.locator("tr.at").get_attribute("data-run") == "run1"
        page.keyboard.press("/")
        page.keyboard.type("xjk")
        assert page.input_value("#filter") == "xjk"
        wait_for_names(page, 0)
        page.keyboard.press("Escape")
        page.keyboard.press("?")
        assert page.is_visible("#keys")
        page.keyboard.press("Escape")
        page.keyboard.press("h")
        wait_for_names(page, 12)
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.wait_for_url("**/run/run0")
        page.focus(".chart >> nth=0")
        page.keyboard.press("End")
        assert "iteration 39" in page.inner_text(".tip")
        page.keyboard.press("ArrowLeft")
        assert "iteration 38" in page.inner_text(".tip")


def test_a_late_answer_keeps_what_is_typed_meanwhile(browser: Any, dashboard: Dashboard) -> None:
    with opened(browser) as page:
        page.goto(dashboard.url)
        page.evaluate(
            """() => {
                const real = window.fetch, gate = new Promise(open => { window.openGate = open; });
                window.fetch = async (...request) => (await Promise.all([real(...request), gate]))[0];
            }"""
        )
        for key in "jx/":
            page.keyboard.press(key)
        page.evaluate(
            """() => {
                document.querySelector("#live").dataset.old = "yes";
                document.querySelector("#filter").value = "xj";
                window.openGate();
            }"""
        )
        page.wait_for_selector("#live:not([data-old])")
        assert page.input_value("#filter") == "xj"
        page.keyboard.type("k")
        assert page.input_value("#filter") == "xjk"
        wait_for_names(page, 0)


def test_slices_come_after_the_page_and_new_losses_by_themselves(browser: Any, dashboard: Dashboard) -> None:
    with opened(browser) as page:
        page.goto(f"{dashboard.url}run/run5")
        page.wait_for_selector(".slices img >> nth=1")
        assert page.evaluate("[...document.querySelectorAll('.slices img')].every(one => one.naturalWidth > 0)")
        page.click("summary:has-text('Config')")
        add_losses("run5", 77)
        page.wait_for_selector("dd:has-text('77 of 100')")
        assert page.is_visible("td:has-text('trainer_config.batch_size')")
        assert page.locator(".slices img").count() == 2


def test_dark_and_light(browser: Any, dashboard: Dashboard) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    with opened(browser, color_scheme="dark") as page:
        page.goto(dashboard.url)
        assert page.evaluate(ground) == "rgb(20, 24, 28)"
        page.keyboard.press("t")
        assert page.evaluate(ground) == "rgb(255, 255, 255)"
        page.goto(f"{dashboard.url}run/run0")
        assert page.evaluate(ground) == "rgb(255, 255, 255)"
        page.click("text=Theme")
        assert page.evaluate(ground) == "rgb(20, 24, 28)"
        page.emulate_media(media="print")
        assert page.evaluate(ground) == "rgb(255, 255, 255)"


def test_narrow_pages_do_not_scroll_sideways(browser: Any, dashboard: Dashboard) -> None:
    with opened(browser, viewport={"width": 360, "height": 700}) as page:
        for path in ("", "run/run0", "compare?run=run0&run=run1&run=run2"):
            page.goto(dashboard.url + path)
            assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_report_needs_no_network(browser: Any, dashboard: Dashboard, tmp_path: Path) -> None:
    path = dacapo.report("run0", "run1", output=tmp_path / "report.html", predict=False)
    with opened(browser, offline=True, color_scheme="dark") as page:
        page.goto(path.as_uri())
        # The policy of the page allows its own style and script.
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 28)"
        page.click("nav a:has-text('run1')")
        assert page.evaluate("document.querySelector(':target').innerText") == "run1"
        page.hover(".chart >> nth=0")
        assert "run0:" in page.inner_text(".tip")


def test_neuroglancer_shows_a_file(browser: Any, tmp_path: Path) -> None:
    pytest.importorskip("neuroglancer")
    import numpy as np
    from funlib.geometry import Coordinate

    from dacapo.view import View
    from tests.helpers.volumes import write_array

    raw = np.random.default_rng(0).integers(60, 255, (8, 64, 64), dtype=np.uint8)
    write_array(tmp_path / "cells.zarr", "raw", raw, Coordinate(40, 4, 4), Coordinate(400, 40, 40))
    view = View(tmp_path / "cells.zarr")
    with opened(browser) as page:
        page.goto(view.url)
        page.wait_for_selector("canvas")
        page.wait_for_selector(".neuroglancer-layer-item-label:has-text('raw')")
        # The page asks for chunks at the place of the data, once it can draw.
        page.wait_for_function("() => performance.getEntriesByType('resource').length > 5")
        page.screenshot(path=str(tmp_path / "neuroglancer.png"))
