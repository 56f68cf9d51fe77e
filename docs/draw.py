"""Make the drawings of the pages from the package.

python docs/draw.py           write docs/images/*.svg
python docs/draw.py --check   only say whether they are up to date
"""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
IMAGES = DOCS / "images"
sys.path[:0] = [str(DOCS.parent), str(DOCS)]

from drawings import affinities, architecture, blocks, context, parts, space, step, validation  # noqa: E402

DRAWINGS = (affinities, architecture, blocks, context, parts, space, step, validation)


def main() -> None:
    """Write the drawings, or compare them.

    Raises:
        SystemExit: If one is compared and differs.
    """
    IMAGES.mkdir(exist_ok=True)
    outdated = []
    for module in DRAWINGS:
        path = IMAGES / f"{module.__name__.removeprefix('drawings.')}.svg"
        drawing = module.draw()
        if "--check" not in sys.argv[1:]:
            path.write_text(drawing, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != drawing:
            outdated.append(path.name)
    if outdated:
        raise SystemExit(f"{', '.join(outdated)} in {IMAGES} are out of date; run python docs/draw.py")


if __name__ == "__main__":
    main()
