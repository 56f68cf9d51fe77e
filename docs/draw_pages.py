"""Make the pictures of pages in docs/images from runs, with Chromium and Playwright installed.

dacapo demo --output demo
cd demo; python .../docs/draw_pages.py runs demo
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
import threading
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

import dacapo
from dacapo import Options
from dacapo.dashboard import Dashboard

IMAGES = Path(__file__).parent / "images"


def main(runs_dir: str, *names: str) -> None:
    """Write ``report.png`` of some runs, and ``dashboard.png`` of the page of the first."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as running:
        Options.instance(runs_base_dir=runs_dir)
        report = dacapo.report(*names, output=Path(folder) / "report.html")
        server = Dashboard(port=0)
        threading.Thread(target=server.serve, daemon=True).start()
        browser = running.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        pages = (
            ("report", report.as_uri(), "light", 1180),
            ("dashboard", f"{server.url}run/{names[0]}", "dark", 820),
        )
        for name, address, scheme, height in pages:
            page = browser.new_page(viewport={"width": 1100, "height": height}, color_scheme=scheme)
            page.goto(address)
            page.wait_for_selector(".slices img")
            png = page.screenshot(clip={"x": 0, "y": 0, "width": 1100, "height": height})
            # A palette makes the file a third as large.
            Image.open(io.BytesIO(png)).quantize(256).save(IMAGES / f"{name}.png", optimize=True)
        browser.close()
        server.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
