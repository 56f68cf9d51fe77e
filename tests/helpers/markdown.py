"""Code on the pages of the documentation."""

from __future__ import annotations

import re
from pathlib import Path


def code_blocks(page: Path) -> list[str]:
    """Return the Python code of a Markdown page, each block at the line where it stands."""
    text = page.read_text(encoding="utf-8")
    return [
        "\n" * text.count("\n", 0, match.start(1)) + match[1]
        for match in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


def scripts(page: Path) -> list[str]:
    """Return the scripts for bash of a Markdown page."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^```bash\n(#!/bin/bash\n.*?)^```$", text, re.MULTILINE | re.DOTALL)
