"""Synthetic nuclei: repeatable, each one piece, brighter than their surroundings, and touching."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from dacapo.demo import synthetic_nuclei

SHAPE = (144, 176)


@pytest.fixture(scope="module")
def nuclei() -> tuple[np.ndarray, np.ndarray]:
    return synthetic_nuclei(SHAPE, seed=3)


def test_types_and_shapes(nuclei: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = nuclei
    assert (image.shape, image.dtype) == (SHAPE, np.uint8)
    assert (labels.shape, labels.dtype) == (SHAPE, np.uint32)


def test_only_the_same_seed_makes_the_same_image(nuclei: tuple[np.ndarray, np.ndarray]) -> None:
    for first, second in zip(nuclei, synthetic_nuclei(SHAPE, seed=3), strict=True):
        np.testing.assert_array_equal(first, second)
    assert (synthetic_nuclei(SHAPE, seed=4)[1] != nuclei[1]).mean() > 0.3


def test_every_nucleus_is_one_piece(nuclei: tuple[np.ndarray, np.ndarray]) -> None:
    labels = nuclei[1]
    assert len(np.unique(labels)) == labels.max() + 1 > 30
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        assert ndimage.label(labels[box] == label)[1] == 1


def test_nuclei_are_bright_and_touch(nuclei: tuple[np.ndarray, np.ndarray]) -> None:
    image, labels = nuclei
    assert np.median(image[labels > 0]) > 2 * np.median(image[labels == 0])
    assert ndimage.label(labels > 0)[1] < 0.7 * labels.max()


def test_an_image_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match=r"two axes of at least 48 pixels, got \(144, 40\)"):
        synthetic_nuclei((144, 40), seed=0)
    with pytest.raises(ValueError, match="two axes"):
        synthetic_nuclei((64, 64, 64), seed=0)
