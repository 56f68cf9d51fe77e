"""Open OME-NGFF groups with the tools of others: ome-zarr-models, zarr 3 and TensorStore.

They need another version of zarr than this package, so this is a program for an environment of its own::

    python -m venv other && other/bin/pip install ome-zarr-models tensorstore "zarr>=3"
    DACAPO_TEST_OME_PYTHON=other/bin/python python -m pytest tests/operations/test_ome_output.py

It prints, for each group given as an argument, a line of JSON: what each level holds.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def _seen(group: Path) -> dict[str, Any]:
    import tensorstore
    import zarr
    from ome_zarr_models import open_ome_zarr

    opened = zarr.open_group(str(group), mode="r")
    model = open_ome_zarr(opened)
    attributes = dict(opened.attrs)
    levels = [
        level["path"] for image in attributes.get("ome", attributes)["multiscales"] for level in image["datasets"]
    ]
    found = {}
    for name in levels:
        driver = "zarr" if (group / name / ".zarray").exists() else "zarr3"
        spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{group / name}/"}}
        values = tensorstore.open(spec, read=True, open=True).result()[...].read().result()
        assert (opened[name][...] == values).all()
        found[name] = [list(values.shape), str(values.dtype), int(values.astype("f8").sum())]
    return {"model": f"{type(model).__module__}.{type(model).__name__}", "levels": found}


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(json.dumps(_seen(Path(argument))))  # noqa: T201
