"""A real browser without a window, for the tests of pages: Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OWN = ("127.0.0.1", "localhost", "[::1]", "::1", "")


@contextmanager
def chromium() -> Iterator[Any]:
    """Start Chromium; skip the test where it or Playwright is not installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the extra test")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"needs a browser: none of {', '.join(NAMES)} is installed; .ci/run installs chromium where it can")
    with playwright.sync_playwright() as running:
        # WebGL is computed, since there is no graphics card; the sandbox needs rights that containers do not give.
        arguments = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        browser = running.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, **settings: Any) -> Iterator[Any]:
    """Open a page that may only ask this machine; another request, or an error of a script, fails the test."""
    wrong: list[str] = []

    def only_here(route: Any) -> None:
        address = urlsplit(route.request.url)
        if address.hostname in OWN or address.scheme in ("data", "blob", "file"):
            route.continue_()
        else:
            wrong.append(f"asked for {route.request.url}")
            route.abort()

    context = browser.new_context(**{"viewport": {"width": 1200, "height": 800}, **settings})
    context.route("**/*", only_here)
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    try:
        yield page
    finally:
        context.close()
    assert wrong == []
