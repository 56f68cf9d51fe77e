"""Sections through validation data and its segmentation, as pictures."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import imageio.v3 as imageio
import numpy as np
import numpy.typing as npt
from funlib.geometry import Coordinate, Roi

from dacapo.errors import DacapoError
from dacapo.experiments.datasplits.datasets.arrays import Array, ZarrArray
from dacapo.experiments.datasplits.datasets.arrays.axes import NON_SPATIAL_AXES
from dacapo.experiments.score_book import ScoreBook
from dacapo.experiments.trained_model import TrainedModel
from dacapo.inference.prediction import predict_array
from dacapo.options import DaCapoConfig, Options
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import create_array_store
from dacapo.utils.label_colors import label_colors, match_labels

if TYPE_CHECKING:
    from dacapo.experiments.datasplits.datasets import Dataset

SIDE = 256
"""Most voxels along the side of a picture."""

_TRIES = 5


@attrs.frozen
class Slices:
    """The pictures of one dataset.

    Attributes:
        title: Name of the dataset.
        place: The place of the section, in words.
        pictures: Titles, and PNG files as ``data:`` addresses.
        problem: Why some are missing.
    """

    title: str
    place: str = ""
    pictures: list[tuple[str, str]] = attrs.field(factory=list)
    problem: str = ""


def slices_of(book: ScoreBook, criterion: str | None, options: DaCapoConfig, predict: bool = False) -> list[Slices]:
    """Return pictures of each validation dataset of a run: raw data, truth, and the best segmentation that is kept.

    Args:
        book: The scores of the run.
        criterion: The criterion whose best segmentation to show.
        options: Where arrays and weights are.
        predict: Whether to predict the section with the best checkpoint, too.
    """
    with Options.override(**attrs.asdict(options, recurse=False)):
        found = []
        for name, open_dataset in _datasets(book):
            try:
                found.append(_slices(book, open_dataset(), criterion, predict))
            except (DacapoError, OSError) as error:
                found.append(Slices(name, problem=f"the data cannot be read: {error}"))
        return found


def _datasets(book: ScoreBook) -> Iterator[tuple[str, Callable[[], Dataset]]]:
    split = book.run.config.datasplit_config
    configs = getattr(split, "validate_configs", None)
    if configs is not None:
        for config in configs:
            yield config.name, partial(config.dataset_type, config)
        return
    for dataset in split.datasplit_type(split).validate or []:
        yield dataset.name, partial(_itself, dataset)


def _itself(dataset: Dataset) -> Dataset:
    return dataset


def _slices(book: ScoreBook, dataset: Dataset, criterion: str | None, predict: bool) -> Slices:
    raw, truth = dataset.raw, dataset.gt
    roi = _section(truth if truth is not None else raw)
    roi = roi.intersect(raw.roi.snap_to_grid(raw.voxel_size, mode="shrink"))
    labels = None if truth is None else _plane(truth, roi)
    pictures = [("Raw", _address(_gray(_plane(raw, roi))))]
    if labels is not None:
        pictures.append(("Truth", _address(_colors(labels))))
    chosen = book.best(criterion, dataset.name) if criterion is not None else None
    problem = ""
    if predict and chosen is not None:
        try:
            prediction = _predicted(book, raw, roi, chosen.iteration)
            pictures.append((f"Prediction at iteration {chosen.iteration:,}", _address(_gray(prediction, 0, 255))))
        except DacapoError as error:
            problem = f"not predicted: {error}"
    if criterion is not None and chosen is not None:
        best = create_array_store().best_validation_array(book.run.name, criterion, dataset.name)
        if (best.container / best.dataset).exists():
            output = ZarrArray.open_from_array_identifier(best, mode="r")
            found = _plane(output, roi)
            same = labels is not None and labels.shape == found.shape and found.dtype.kind in "bui"
            shown = match_labels(found, labels) if same and labels is not None else found
            pictures.append((f"Best {criterion}, iteration {chosen.iteration:,}", _address(_colors(shown))))
    return Slices(dataset.name, _in_words(raw, roi), pictures, problem)


def _section(array: Array) -> Roi:
    """Return a section of limited size, in 3D one voxel deep, where most voxels are labeled."""
    size, voxel = array.roi.shape / array.voxel_size, array.voxel_size
    shape = Coordinate(min(length, SIDE) for length in size)
    corner = (size - shape) / 2
    if array.dims < 3:
        return Roi(array.roi.offset + corner * voxel, shape * voxel)
    shape = Coordinate((1, *shape[1:]))
    depths = {round(depth) for depth in np.linspace(0, size[0] - 1, _TRIES + 2)[1:-1]}
    nearest = sorted(depths, key=lambda depth: abs(depth - size[0] / 2))
    rois = [Roi(array.roi.offset + Coordinate((z, *corner[1:])) * voxel, shape * voxel) for z in nearest]
    return max(rois, key=lambda roi: np.count_nonzero(array[roi]))


def _plane(array: Array, roi: Roi) -> npt.NDArray[Any]:
    """Return the values of an array in a region, of its first channel, as an image; outside of the array they are 0."""
    region = roi.snap_to_grid(array.voxel_size, mode="grow")
    values = np.zeros(region.shape / array.voxel_size, array.dtype)
    inside = region.intersect(array.roi)
    if not inside.empty:
        found = array[inside]
        if array.channel_axis is not None:
            found = found.take(0, axis=array.channel_axis)
        begin = (inside.offset - region.offset) / array.voxel_size
        values[tuple(slice(b, b + n) for b, n in zip(begin, found.shape, strict=True))] = found
    return values if values.ndim == 2 else values[values.shape[0] // 2]


def _predicted(book: ScoreBook, raw: Array, roi: Roi, iteration: int) -> npt.NDArray[Any]:
    trained = TrainedModel.load(book.run.name, iteration)
    voxel = trained.model.scale(raw.voxel_size)
    region = roi.snap_to_grid(voxel, mode="grow").intersect(raw.roi.snap_to_grid(voxel, mode="shrink"))
    with tempfile.TemporaryDirectory() as folder:
        output = LocalArrayIdentifier(Path(folder) / "prediction.zarr", "prediction")
        return _plane(predict_array(trained, raw, output, output_roi=region), roi)


def _gray(image: npt.NDArray[Any], low: float | None = None, high: float | None = None) -> npt.NDArray[np.uint8]:
    values = np.nan_to_num(image.astype(np.float64))
    begin = np.percentile(values, 0.5) if low is None else low
    end = np.percentile(values, 99.5) if high is None else high
    return np.asarray(np.clip((values - begin) / max(end - begin, 1e-12) * 255, 0, 255), dtype=np.uint8)


def _colors(image: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if image.dtype.kind == "f":
        return _gray(image)
    return np.asarray(label_colors(image) * 255, dtype=np.uint8)


def _address(image: npt.NDArray[np.uint8]) -> str:
    png: Any = imageio.imwrite("<bytes>", image, extension=".png")
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _in_words(raw: Array, roi: Roi) -> str:
    """Return a region in units of the world."""
    axes = [axis for axis in raw.axes if axis not in NON_SPATIAL_AXES]
    begin, end = raw.world.in_units(roi.begin), raw.world.in_units(roi.end)
    sides = [
        f"{axis} {b:g} to {e:g}" + (f" {unit}" if unit else "")
        for axis, b, e, unit in zip(axes, begin, end, raw.units or [""] * raw.dims, strict=True)
    ]
    return ", ".join(sides)
