"""Asking a neuroglancer viewer for what it shows, as the page in a browser does."""

from __future__ import annotations

import io
import urllib.request
import zlib
from typing import Any

import neuroglancer
import numpy as np

from tests.helpers.processes import PATIENCE


def layers_of(viewer: Any) -> list[str]:
    """Return the names of the layers."""
    return [layer.name for layer in viewer.state.layers]


def fetch(viewer: Any, layer: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return the first voxels of a layer, from the server of the viewer."""
    volume = viewer.state.layers[layer].source[0].url.removeprefix("python://volume/")
    place = f"neuroglancer/npz/{volume}/{','.join('1' * len(shape))}/{','.join('0' * len(shape))}"
    url = f"{neuroglancer.server.get_server_url()}/{place}/{','.join(map(str, shape))}"
    with urllib.request.urlopen(url, timeout=PATIENCE) as response:
        return np.load(io.BytesIO(zlib.decompress(response.read())))
