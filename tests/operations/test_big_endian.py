"""Data whose numbers have their bytes in the other order, through training, validation and prediction."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import attrs
import numpy as np
import pytest
import tensorstore
import tifffile
import zarr
from funlib.geometry import Coordinate

from dacapo.experiments.datasplits import TrainValidateDataSplitConfig
from dacapo.experiments.datasplits.datasets import RawGTDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import (
    ArrayConfig,
    BinarizeArrayConfig,
    IntensitiesArrayConfig,
    TiffArrayConfig,
    ZarrArrayConfig,
)
from dacapo.experiments.run import Run
from dacapo.experiments.tasks import (
    AffinitiesTaskConfig,
    DistanceTaskConfig,
    HotDistanceTaskConfig,
    InnerDistanceTaskConfig,
    OneHotTaskConfig,
    TaskConfig,
)
from dacapo.experiments.trainers import GunpowderTrainerConfig, TorchTrainerConfig
from dacapo.options import DaCapoConfig
from dacapo.train import train_run
from tests.helpers.runs import affinities_run_config, unet_config
from tests.helpers.volumes import cells

OTHER = ">" if sys.byteorder == "little" else "<"
SIZE, OFFSET = Coordinate(4, 4), Coordinate(40, 40)


def write(folder: Path, name: str, file_format: str, values: np.ndarray) -> ArrayConfig:
    """Write a 2D array in the other byte order, and return its config."""
    place = {"resolution": list(SIZE), "offset": list(OFFSET), "units": ["nm"] * 2}
    other = values.astype(values.dtype.newbyteorder(OTHER))
    if file_format == "zarr":
        array = zarr.open_group(str(folder / "data.zarr"), mode="a").create_dataset(name, data=other, chunks=16)
        array.attrs.put({"axes": ["y", "x"], **place})
        assert array.dtype.str[0] == OTHER
    elif file_format == "n5":
        path = folder / "data.n5" / name
        header = {"dimensions": values.shape[::-1], "blockSize": [16, 16], "dataType": values.dtype.name}
        kvstore = {"driver": "file", "path": f"{path}/"}
        metadata = {**header, "compression": {"type": "gzip"}}
        opened = tensorstore.open({"driver": "n5", "kvstore": kvstore, "metadata": metadata, "create": True}).result()
        opened.write(values.T).result()
        attributes = json.loads((path / "attributes.json").read_text())
        (path / "attributes.json").write_text(json.dumps({**attributes, "axes": ["x", "y"], **place}))
    else:
        tifffile.imwrite(folder / f"{name}.tif", other, byteorder=OTHER)
        return TiffArrayConfig(name, folder / f"{name}.tif", OFFSET, SIZE, ["y", "x"])
    return ZarrArrayConfig(name, folder / f"data.{file_format}", name, mode="r")


def dataset(folder: Path, name: str, file_format: str, task: TaskConfig) -> RawGTDatasetConfig:
    folder.mkdir()
    raw, labels = cells((40, 40), seed=len(name))
    if isinstance(task, OneHotTaskConfig):
        labels = labels % 3
    mask = np.ones((40, 40), dtype=np.int16)
    mask[:4] = 0
    truth: ArrayConfig = write(
        folder, "labels", file_format, labels.astype(np.uint64 if file_format != "tiff" else np.uint32)
    )
    if not isinstance(task, AffinitiesTaskConfig | OneHotTaskConfig):
        truth = BinarizeArrayConfig("classes", truth, [("a", [1, 2, 3]), ("b", [])])
    return RawGTDatasetConfig(
        name=name,
        raw_config=IntensitiesArrayConfig("raw", write(folder, "raw", file_format, raw.astype(np.uint16)), 0.0, 255.0),
        gt_config=truth,
        mask_config=write(folder, "mask", file_format, mask),
    )


DISTANCES = {"channels": ["a", "b"], "clip_distance": 40.0, "tol_distance": 8.0, "scale_factor": 40.0}
TASKS = [
    AffinitiesTaskConfig("affinities", [Coordinate(1, 0), Coordinate(0, 1)], lsds=True),
    DistanceTaskConfig("distances", **DISTANCES),
    HotDistanceTaskConfig("hot", **DISTANCES),
    InnerDistanceTaskConfig("inner", **DISTANCES),
    OneHotTaskConfig("classes", ["background", "a", "b"]),
]


TRAINERS = [GunpowderTrainerConfig, TorchTrainerConfig]


@pytest.mark.parametrize(
    ("file_format", "trainer"),
    [*(("zarr", trainer) for trainer in TRAINERS), ("n5", TRAINERS[0]), ("tiff", TRAINERS[1])],
)
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_task_trains_and_validates(
    options: DaCapoConfig, tmp_path: Path, task: TaskConfig, file_format: str, trainer: type
) -> None:
    config = affinities_run_config(tmp_path, num_iterations=1, validation_interval=1, task_config=task)
    config = attrs.evolve(
        config,
        architecture_config=unet_config(2),
        trainer_config=trainer(name="trainer", batch_size=1, learning_rate=1e-3, num_data_fetchers=1),
        datasplit_config=TrainValidateDataSplitConfig(
            name="split",
            train_configs=[dataset(tmp_path / "a", "train", file_format, task)],
            validate_configs=[dataset(tmp_path / "b", "validate", file_format, task)],
        ),
    )
    run = train_run(Run(config))
    assert len(run.validation_scores.scores) == 1
    assert np.isfinite(run.training_stats.iteration_stats[0].loss)
