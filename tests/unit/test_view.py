"""Arrays in a real neuroglancer viewer, asked for what it shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

pytest.importorskip("neuroglancer")

from dacapo.errors import ConfigError, DtypeError
from dacapo.experiments.datasplits.datasets.arrays import NumpyArray
from dacapo.experiments.datasplits.datasets.arrays.viewing import labels_layer, open_viewer
from dacapo.utils.view import add_scalar_layer, add_seg_layer, get_viewer
from tests.helpers.viewers import fetch, layers_of

RAW = np.random.default_rng(0).integers(0, 256, (4, 6, 8)).astype(np.uint8)
LABELS = np.random.default_rng(1).integers(0, 5, (4, 6, 8)).astype(np.uint64)
PLACED = NumpyArray.from_np_array(RAW, Roi((80, 40, 40), (32, 24, 32)), Coordinate(8, 4, 4), ["z", "y", "x"])


def layer_of(viewer: Any, name: str) -> dict[str, Any]:
    return viewer.state.layers[name].to_json()


def test_arrays_of_all_kinds() -> None:
    viewer = get_viewer(
        {
            "raw": {"array": RAW, "voxel_size": (8, 4, 4)},
            "labels": {"array": LABELS, "meshes": True},
            "mask": {"array": RAW > 100, "is_seg": True},
            "as image": {"array": LABELS, "is_seg": False},
            "placed": PLACED,
            "flat": RAW[0],
            "channels": {"array": RAW, "voxel_size": (4, 4)},
        }
    )
    assert layers_of(viewer) == ["raw", "labels", "mask", "as image", "placed", "flat", "channels"]
    kinds = [layer_of(viewer, name)["type"] for name in layers_of(viewer)]
    assert kinds == ["image", "segmentation", "segmentation", "image", "image", "image", "image"]
    for name, values in (("raw", RAW), ("labels", LABELS), ("mask", RAW > 100), ("as image", LABELS), ("placed", RAW)):
        np.testing.assert_array_equal(fetch(viewer, name, RAW.shape), values)
    np.testing.assert_array_equal(fetch(viewer, "flat", (6, 8)), RAW[0])
    np.testing.assert_array_equal(fetch(viewer, "channels", RAW.shape), RAW)


def test_a_frame_for_notebooks() -> None:
    frame = get_viewer({"raw": RAW}, width=800, height=300, headless=False)
    assert (frame.width, frame.height) == (800, 300)
    np.testing.assert_array_equal(fetch(frame.viewer, "raw", RAW.shape), RAW)


def test_layers_are_added_and_replaced() -> None:
    viewer = open_viewer({})
    with viewer.txn() as state:
        add_scalar_layer(state, "raw", RAW, (8, 4, 4))
        add_seg_layer(state, "labels", LABELS, (8, 4, 4))
        add_scalar_layer(state, "raw", RAW + 1, (8, 4, 4))
    assert layers_of(viewer) == ["raw", "labels"]
    np.testing.assert_array_equal(fetch(viewer, "raw", RAW.shape), RAW + 1)


@pytest.mark.parametrize("meshes", [True, False])
def test_surfaces_are_shown_if_wanted(meshes: bool) -> None:
    viewer = open_viewer({})
    with viewer.txn() as state:
        add_seg_layer(state, "labels", LABELS, (8, 4, 4), meshes)
    source = layer_of(viewer, "labels")["source"][0]
    assert source.get("enableDefaultSubsources", True) is meshes


def test_the_voxel_size_of_an_array_is_its_own() -> None:
    viewer = open_viewer({})
    with viewer.txn() as state:
        add_scalar_layer(state, "raw", PLACED, (8, 4, 4))
        with pytest.raises(ConfigError, match="raw: voxel size is"):
            add_scalar_layer(state, "raw", PLACED, (4, 4, 4))


@pytest.mark.parametrize(
    "item", [{"is_seg": True}, {"array": RAW, "segmentation": True}, "raw", {"array": RAW, "voxel_size": (1, 0, 1)}]
)
def test_what_cannot_be_shown(item: Any) -> None:
    with pytest.raises(ConfigError, match=r"^raw"):
        get_viewer({"raw": item})


def test_fractions_are_no_labels() -> None:
    with pytest.raises(DtypeError, match="cannot be labels"):
        get_viewer({"raw": {"array": RAW / 2, "is_seg": True}})


def test_narrow_labels_are_shown_as_such_unless_they_are_channels() -> None:
    kinds = {}
    for name, axes, dims in (("plain", ["z", "y", "x"], 3), ("channels", ["c", "y", "x"], 2)):
        size = Coordinate((4,) * dims)
        array = NumpyArray.from_np_array(RAW, Roi((0,) * dims, Coordinate(RAW.shape[-dims:]) * size), size, axes)
        kinds[name] = labels_layer(array).type
    assert kinds == {"plain": "segmentation", "channels": "image"}
