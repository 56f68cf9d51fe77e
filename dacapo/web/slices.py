"""Sections through validation data and its segmentation, as pictures."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy.typing as npt
from funlib.geometry import Roi

from dacapo.errors import DacapoError
from dacapo.experiments.datasplits.datasets.arrays import Array, ZarrArray
from dacapo.experiments.datasplits.datasets.arrays.sections import in_words, plane, section
from dacapo.experiments.score_book import ScoreBook
from dacapo.experiments.trained_model import TrainedModel
from dacapo.inference.prediction import predict_array
from dacapo.options import DaCapoConfig, Options
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import create_array_store
from dacapo.utils.images import gray_image, label_image, png_address
from dacapo.utils.label_colors import match_labels

if TYPE_CHECKING:
    from dacapo.experiments.datasplits.datasets import Dataset


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
    roi = section(truth if truth is not None else raw)
    roi = roi.intersect(raw.roi)
    labels = None if truth is None else plane(truth, roi)
    pictures = [("Raw", png_address(gray_image(plane(raw, roi))))]
    if labels is not None:
        pictures.append(("Truth", png_address(label_image(labels))))
    chosen = book.best(criterion, dataset.name) if criterion is not None else None
    problem = ""
    if predict and chosen is not None:
        try:
            prediction = _predicted(book, raw, roi, chosen.iteration)
            pictures.append(
                (f"Prediction at iteration {chosen.iteration:,}", png_address(gray_image(prediction, 0, 255)))
            )
        except DacapoError as error:
            problem = f"not predicted: {error}"
    if criterion is not None and chosen is not None:
        best = create_array_store().best_validation_array(book.run.name, criterion, dataset.name)
        if (best.container / best.dataset).exists():
            output = ZarrArray.open_from_array_identifier(best, mode="r")
            found = plane(output, roi)
            same = labels is not None and labels.shape == found.shape and found.dtype.kind in "bui"
            renamed = match_labels(found, labels) if same and labels is not None else found
            pictures.append((f"Best {criterion}, iteration {chosen.iteration:,}", png_address(label_image(renamed))))
    return Slices(dataset.name, in_words(raw, roi), pictures, problem)


def _predicted(book: ScoreBook, raw: Array, roi: Roi, iteration: int) -> npt.NDArray[Any]:
    trained = TrainedModel.load(book.run.name, iteration)
    voxel = trained.model.scale(raw.voxel_size)
    region = roi.snap_to_grid(voxel, mode="grow").intersect(raw.roi.snap_to_grid(voxel, mode="shrink"))
    with tempfile.TemporaryDirectory() as folder:
        output = LocalArrayIdentifier(Path(folder) / "prediction.zarr", "prediction")
        return plane(predict_array(trained, raw, output, output_roi=region), roi)
