"""Segmenting with empanada: without its package an error that says what to install, with it a tiny network."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import daisy.v2 as daisy
import numpy as np
import pytest
import torch
import yaml
from funlib.geometry import Coordinate, Roi

from dacapo import segment_blockwise
from dacapo.blockwise import empanada_function
from dacapo.errors import ChannelMismatchError, ConfigError, MissingDependencyError, PathNotFoundError
from dacapo.experiments.datasplits.datasets.arrays import NumpyArray, ZarrArray
from dacapo.options import DaCapoConfig
from dacapo.store.array_store import LocalArrayIdentifier
from tests.helpers.volumes import stored_values, write_array

IS_INSTALLED = importlib.util.find_spec("empanada") is not None
needs_empanada = pytest.mark.skipif(
    not IS_INSTALLED, reason="empanada-dl is not installed; it has no pins for this NumPy"
)

SEGMENTER = (
    "image, model_config=MitoNet_v1, use_gpu=True, use_quantized=False, multigpu=False, downsampling=1, "
    "confidence_thr=0.5, center_confidence_thr=0.1, min_distance_object_centers=21, fine_boundaries=True, "
    "semantic_only=False, median_slices=11, min_size=10000, min_extent=50, maximum_objects_per_class=1000000, "
    "inference_plane=xy, orthoplane=True, return_panoptic=False, pixel_vote_thr=1, allow_one_view=False"
)
SIGNATURES = {
    "segment_function": "input_array, block, parameters",
    "stack_inference": "engine, volume, axis_name",
    "orthoplane_inference": "engine, volume",
    "empanada_segmenter": SEGMENTER,
    "stack_postprocessing": "trackers, model_config, label_divisor=1000, min_size=200, min_extent=4, dtype=uint32",
    "tracker_consensus": (
        "trackers, model_config, pixel_vote_thr=2, cluster_iou_thr=0.75, allow_one_view=False, min_size=200, "
        "min_extent=4, dtype=uint32"
    ),
}
# Small objects, and no median over slices that would blur them.
SMALL = {
    "min_size": 4,
    "min_extent": 1,
    "median_slices": 3,
    "min_distance_object_centers": 3,
    "center_confidence_thr": 0.8,
    "use_gpu": False,
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name: str) -> None:
    texts = []
    for parameter in inspect.signature(getattr(empanada_function, name)).parameters.values():
        default = getattr(parameter.default, "__name__", parameter.default)
        texts.append(parameter.name if parameter.default is parameter.empty else f"{parameter.name}={default}")
    assert ", ".join(texts) == SIGNATURES[name]


class Bright(torch.nn.Module):
    """Takes what is bright for an object and what is brightest for its center; answers as networks of empanada do."""

    def __init__(self) -> None:
        super().__init__()
        self.threshold = torch.nn.Parameter(torch.tensor(0.4))

    def forward(self, image: torch.Tensor, render_steps: int, interpolate_ins: bool = True) -> dict[str, torch.Tensor]:
        logits = 40.0 * (image - self.threshold)
        for _ in range(render_steps - 2):
            logits = torch.nn.functional.interpolate(logits, scale_factor=2.0)
        centers = (image > 0.9).float()
        if not interpolate_ins:
            centers = torch.nn.functional.max_pool2d(centers, 4)
        offsets = torch.zeros(centers.size(0), 2, centers.size(2), centers.size(3))
        return {"sem_logits": logits, "ctr_hmp": centers, "offsets": offsets}


def cubes() -> tuple[np.ndarray, np.ndarray]:
    """Return an image of three bright cubes with bright axes through their centers, and their labels."""
    labels = np.zeros((16, 20, 24), dtype=np.uint32)
    for label, (z, y, x) in enumerate([(2, 3, 3), (4, 10, 14), (9, 3, 15)], start=1):
        labels[z : z + 5, y : y + 5, x : x + 5] = label
    image = np.where(labels > 0, 150, 20).astype(np.uint8)
    for z, y, x in [(4, 5, 5), (6, 12, 16), (11, 5, 17)]:
        for inside in ((slice(z - 2, z + 3), y, x), (z, slice(y - 2, y + 3), x), (z, y, slice(x - 2, x + 3))):
            image[inside] = 255
    return image, labels


@pytest.fixture
def model_config(tmp_path: Path) -> Path:
    torch.jit.script(Bright()).save(str(tmp_path / "bright.pth"))
    values: dict[str, Any] = {
        "model": "bright.pth",
        "norms": {"mean": 0.0, "std": 1.0},
        "labels": [1],
        "thing_list": [1],
        "class_names": {1: "cube"},
        "padding_factor": 4,
    }
    file = tmp_path / "bright.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


def same_objects(labels: np.ndarray, expected: np.ndarray) -> bool:
    pairs = {(int(a), int(b)) for a, b in zip(labels.ravel(), expected.ravel(), strict=True)}
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) and (0, 0) in pairs


class TestWithoutThePackage:
    @pytest.fixture(autouse=True)
    def _missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import sys

        for name in [name for name in sys.modules if name.split(".")[0] == "empanada"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "empanada", None)

    def test_at_the_first_call(self, model_config: Path) -> None:
        image, _ = cubes()
        array = NumpyArray.from_np_array(image, Roi((0, 0, 0), image.shape), Coordinate(1, 1, 1), ["z", "y", "x"])
        calls: list[Callable[[], object]] = [
            lambda: empanada_function.segment_function(array, array.roi, model_config=model_config),
            lambda: empanada_function.empanada_segmenter(image, model_config),
        ]
        for call in calls:
            with pytest.raises(MissingDependencyError, match="pip install --no-deps empanada-dl"):
                call()

    def test_before_any_block(self, options: DaCapoConfig, tmp_path: Path, model_config: Path) -> None:
        image, _ = cubes()
        write_array(tmp_path / "in.zarr", "raw", image)
        with pytest.raises(MissingDependencyError, match="pip install --no-deps empanada-dl"):
            segment(tmp_path, 2, model_config=model_config)
        assert not (tmp_path / "out.zarr").exists()


def segment(folder: Path, workers: int, **parameters: Any) -> np.ndarray:
    source = ZarrArray.open_from_array_identifier(LocalArrayIdentifier(folder / "in.zarr", "raw"))
    block = Roi((0, 0, 0), Coordinate(16, 20, 12) * source.voxel_size)
    target = LocalArrayIdentifier(folder / "out.zarr", "labels")
    segment_blockwise(
        empanada_function.__file__,
        Coordinate(0, 0, 6) * source.voxel_size,
        source.roi,
        block,
        block,
        workers,
        input_array_identifier=LocalArrayIdentifier(folder / "in.zarr", "raw"),
        output_array_identifier=target,
        **parameters,
    )
    return stored_values(target)


@needs_empanada
class TestWithThePackage:
    @pytest.mark.parametrize(
        "changes",
        [
            {"orthoplane": True, "pixel_vote_thr": 2},
            {"orthoplane": False},
            {"orthoplane": False, "inference_plane": "yz"},
            {"orthoplane": False, "inference_plane": "xz", "median_slices": 31},
            {"orthoplane": False, "fine_boundaries": False, "min_distance_object_centers": 1},
        ],
    )
    def test_objects(self, options: DaCapoConfig, model_config: Path, changes: dict[str, Any]) -> None:
        image, expected = cubes()
        labels = empanada_function.empanada_segmenter(image, model_config, **{**SMALL, **changes})
        if changes.get("median_slices", 3) == 3:
            assert same_objects(labels, expected)
        assert labels.shape == image.shape

    @pytest.mark.parametrize("orthoplane", [False, True])
    def test_panoptic_numbers(self, options: DaCapoConfig, model_config: Path, orthoplane: bool) -> None:
        image, expected = cubes()
        labels = empanada_function.empanada_segmenter(
            image, model_config, **SMALL, orthoplane=orthoplane, return_panoptic=True, maximum_objects_per_class=100
        )
        assert same_objects(labels, expected)
        assert set(np.unique(labels)) == {0, 101, 102, 103}

    def test_classes_only(self, options: DaCapoConfig, model_config: Path) -> None:
        image, expected = cubes()
        labels = empanada_function.empanada_segmenter(
            image, model_config, **SMALL, orthoplane=False, semantic_only=True
        )
        np.testing.assert_array_equal(labels > 0, expected > 0)
        assert labels.max() == 1

    def test_smaller_slices(self, options: DaCapoConfig, model_config: Path) -> None:
        image = np.full((4, 14, 16), 20, dtype=np.uint8)
        image[:, 2:10, 4:12] = 150
        image[:, 4:6, 6:8] = 255
        labels = empanada_function.empanada_segmenter(
            image[:, :13, :15], model_config, **SMALL, orthoplane=False, downsampling=2
        )
        np.testing.assert_array_equal(labels > 0, image[:, :13, :15] > 100)

    def test_two_dimensions(self, options: DaCapoConfig, model_config: Path) -> None:
        image, expected = cubes()
        labels = empanada_function.empanada_segmenter(image[5], model_config, **SMALL)
        assert same_objects(labels, expected[5])

    def test_small_objects_are_left_out(self, options: DaCapoConfig, model_config: Path) -> None:
        image, expected = cubes()
        image[14, 16, 2] = 255
        for changes in ({"min_size": 50}, {"min_extent": 3}):
            labels = empanada_function.empanada_segmenter(image, model_config, **{**SMALL, **changes}, orthoplane=False)
            assert same_objects(labels, expected)

    @pytest.mark.parametrize("workers", [1, 2])
    def test_in_blocks(self, options: DaCapoConfig, tmp_path: Path, model_config: Path, workers: int) -> None:
        image, expected = cubes()
        write_array(tmp_path / "in.zarr", "raw", image)
        labels = segment(tmp_path, workers, model_config=model_config, orthoplane=False, **SMALL)
        assert same_objects(labels, expected)

    def test_a_block_of_a_task(self, options: DaCapoConfig, model_config: Path) -> None:
        image, expected = cubes()
        roi = Roi((0, 0, 0), image.shape)
        array = NumpyArray.from_np_array(image[None], roi, Coordinate(1, 1, 1), ["c", "z", "y", "x"])
        part = Roi((0, 0, 0), (16, 20, 12))
        block = daisy.Block(roi, part, part)
        labels = empanada_function.segment_function(array, block, model_config=model_config, orthoplane=False, **SMALL)
        assert same_objects(labels, expected[:, :, :12])
        array = NumpyArray.from_np_array(np.stack([image] * 2), roi, Coordinate(1, 1, 1), ["c", "z", "y", "x"])
        with pytest.raises(ChannelMismatchError, match="2 channels"):
            empanada_function.segment_function(array, roi, model_config=model_config)

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"model_config": "Nothing"}, PathNotFoundError, "nothing describes the network Nothing"),
            ({"model_config": {"model": "x"}}, ConfigError, "norms, labels, thing_list missing"),
            ({"inference_plane": "zz"}, ConfigError, "expected one of xy, xz, yz"),
            ({"downsampling": 3}, ConfigError, "expected a power of 2"),
            ({"median_slices": 4}, ConfigError, "expected an odd number"),
            ({"multigpu": True}, ConfigError, "ask for several workers"),
            ({"use_quantized": True}, ConfigError, "has no model_quantized"),
            ({"colour": 1}, ConfigError, "unexpected keyword argument 'colour'"),
        ],
    )
    def test_mistakes_are_found_early(
        self, options: DaCapoConfig, model_config: Path, changes: dict[str, Any], error: type[Exception], message: str
    ) -> None:
        with pytest.raises(error, match=message):
            empanada_function.check_segment_function(**{"model_config": model_config, **changes})
