"""The run of the demo, described by configs."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from funlib.geometry import Coordinate

from dacapo.errors import InputTooSmallError
from dacapo.experiments.architectures import CNNectomeUNetConfig
from dacapo.experiments.datasplits import TrainValidateDataSplitConfig
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.tasks import AffinitiesTaskConfig
from dacapo.experiments.trainers import TorchTrainerConfig
from dacapo.experiments.trainers.gp_augments import IntensityAugmentConfig, SimpleAugmentConfig

from .data import DemoData

logger = logging.getLogger(__name__)

RUN_NAME = "demo"
VALIDATIONS = 4
SMALLEST = 50  # voxels; the mutex watershed leaves specks between cells

# Input sizes that the network of _architecture accepts along an axis, by whether the axis is downsampled: the smallest,
# the largest for two and for three axes, and the step between sizes.
INPUT_SIZES = {True: (31, {2: 220, 3: 58}, 3), False: (17, {2: 112, 3: 28}, 1)}


def describe_run(data: DemoData, iterations: int) -> RunConfig:
    """Return the config of the run: affinities, by a small U-Net that fits the data."""
    coarse = [size >= 2 * min(data.voxel_size) for size in data.voxel_size]
    steps = [(1, 2) if is_coarse else (1, 3, 9) for is_coarse in coarse]
    neighborhood = [
        Coordinate(step if a == axis else 0 for a in range(len(coarse)))
        for _, axis, step in sorted((i, axis, step) for axis, own in enumerate(steps) for i, step in enumerate(own))
    ]
    return RunConfig(
        name=RUN_NAME,
        repetition=0,
        num_iterations=iterations,
        validation_interval=math.ceil(iterations / VALIDATIONS),
        task_config=AffinitiesTaskConfig(name="affinities", neighborhood=neighborhood, min_size=SMALLEST),
        architecture_config=_architecture(data, coarse),
        trainer_config=TorchTrainerConfig(
            name="trainer",
            batch_size=1,
            learning_rate=8e-3,
            num_data_fetchers=1,
            augments=[SimpleAugmentConfig(), IntensityAugmentConfig(scale=(0.8, 1.2), shift=(-0.2, 0.2), clip=False)],
            warmup_iterations=min(20, iterations // 2),
            decay_iterations=iterations,
        ),
        datasplit_config=TrainValidateDataSplitConfig(
            name="parts", train_configs=[data.train], validate_configs=[data.validate]
        ),
    )


def _architecture(data: DemoData, coarse: Sequence[bool]) -> CNNectomeUNetConfig:
    """Return a small U-Net whose input fits into the training data; axes with coarse voxels are not downsampled."""
    dims = len(coarse)
    input_shape = []
    for size, is_coarse in zip(data.smallest_shape, coarse, strict=True):
        smallest, largest, step = INPUT_SIZES[not is_coarse]
        if size < smallest:
            raise InputTooSmallError(
                f"a volume of {tuple(data.smallest_shape)} voxels is too small: the network needs {smallest} along "
                "each axis; give a larger volume"
            )
        input_shape.append(smallest + (min(size, largest[dims]) - smallest) // step * step)
    logger.info("the network reads patches of %s voxels", "x".join(map(str, input_shape)))
    return CNNectomeUNetConfig(
        name="small_unet",
        input_shape=Coordinate(input_shape),
        fmaps_in=data.channels,
        fmaps_out=12,
        num_fmaps=12,
        fmap_inc_factor=4,
        downsample_factors=[Coordinate(1 if is_coarse else 3 for is_coarse in coarse)],
    )
