"""Synthetic tissue: repeatable, completely labeled, and like a micrograph where it matters."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from dacapo.demo.tissue import MEMBRANE, SMALLEST_CELL, synthetic_classes, synthetic_tissue
from dacapo.utils.voi import voi

SHAPE = (32, 72, 64)


@pytest.fixture(scope="module")
def tissue() -> tuple[np.ndarray, np.ndarray]:
    return synthetic_tissue(SHAPE, seed=5)


def test_types_and_shapes(tissue: tuple[np.ndarray, np.ndarray]) -> None:
    raw, labels = tissue
    assert (raw.shape, raw.dtype) == (SHAPE, np.uint8)
    assert (labels.shape, labels.dtype) == (SHAPE, np.uint32)


def test_the_same_seed_makes_the_same_tissue(tissue: tuple[np.ndarray, np.ndarray]) -> None:
    for first, second in zip(tissue, synthetic_tissue(SHAPE, seed=5), strict=True):
        np.testing.assert_array_equal(first, second)


def test_another_seed_makes_another_tissue(tissue: tuple[np.ndarray, np.ndarray]) -> None:
    raw, labels = synthetic_tissue(SHAPE, seed=6)
    assert (raw != tissue[0]).mean() > 0.5
    assert sum(voi(labels, tissue[1])) > 2


def test_global_random_state_is_neither_used_nor_changed() -> None:
    np.random.seed(1)
    first = synthetic_tissue((16, 16, 16), seed=0)
    drawn = np.random.random()
    np.random.seed(1)
    assert np.random.random() == drawn
    np.random.seed(2)
    np.testing.assert_array_equal(synthetic_tissue((16, 16, 16), seed=0)[0], first[0])


def test_every_voxel_is_labelled_and_every_label_is_one_piece(tissue: tuple[np.ndarray, np.ndarray]) -> None:
    labels = tissue[1]
    assert labels.min() == 1
    assert len(np.unique(labels)) == labels.max() > 10
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        cell = labels[box] == label
        assert ndimage.label(cell)[1] == 1
        assert cell.sum() >= SMALLEST_CELL


def test_membranes_are_darker_than_cells(tissue: tuple[np.ndarray, np.ndarray]) -> None:
    raw, labels = tissue
    border = ndimage.grey_dilation(labels, size=3) != ndimage.grey_erosion(labels, size=3)
    deep = ndimage.distance_transform_edt(~border) > 3
    assert deep.any()
    assert raw[border].mean() < raw[deep].mean() - 30
    # Dark bodies inside the cells: some voxels far from every membrane are as dark as one.
    assert (ndimage.uniform_filter(raw, 3)[deep] < (MEMBRANE + 0.15) * 255).mean() > 0.005


def test_no_threshold_and_watershed_of_the_image_finds_the_cells() -> None:
    from skimage.segmentation import watershed

    raw, labels = synthetic_tissue((48, 96, 96), seed=3)
    smooth = ndimage.gaussian_filter(raw.astype(float), 1)
    flat = smooth - ndimage.gaussian_filter(smooth, 20)
    for threshold in (0, 10, 20, 30):
        seeds = ndimage.label(flat > threshold)[0]
        assert sum(voi(labels, watershed(-smooth, seeds))) > 1.5


@pytest.mark.parametrize("shape", [(32, 32), (8, 32, 32), (16, 16, 16, 16)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="three axes of at least 16 voxels"):
        synthetic_tissue(shape, seed=0)


def test_classes_are_those_of_the_same_tissue(tissue: tuple[np.ndarray, np.ndarray]) -> None:
    raw, labels = tissue
    image, classes = synthetic_classes(SHAPE, seed=5)
    np.testing.assert_array_equal(image, raw)
    assert (classes.shape, classes.dtype) == (SHAPE, np.uint8)
    assert set(np.unique(classes)) == {0, 1, 2, 3}
    border = ndimage.grey_dilation(labels, footprint=ndimage.generate_binary_structure(3, 1)) != labels
    assert (classes[border] == 1).all()
    inside, membranes, bodies, vesicles = (np.median(raw[classes == number]) for number in range(4))
    assert max(membranes, bodies) < vesicles
    assert max(membranes, bodies) < inside
