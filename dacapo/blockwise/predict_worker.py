"""Worker of :func:`dacapo.blockwise.prediction.predict_array`: predicts single blocks in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import daisy.v2 as daisy
from funlib.geometry import Roi

from dacapo.blockwise.block_plan import plan_blocks
from dacapo.blockwise.prediction import BlockPredictor
from dacapo.compute_context import create_compute_context
from dacapo.experiments.datasplits.datasets.arrays import ArrayConfig, ZarrArray
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.converter import from_plain
from dacapo.store.create_store import create_weights_store


def start_worker(
    run_config: dict[str, Any],
    iteration: int,
    raw_config: dict[str, Any],
    output_container: str,
    output_dataset: str,
    output_offset: Sequence[int],
    output_shape: Sequence[int],
) -> Callable[[daisy.Block], None]:
    """Return the function that predicts a block.

    Args:
        run_config: The run, as plain values.
        iteration: Checkpoint of the run.
        raw_config: The input, as plain values.
        output_container: Container of the output, which exists.
        output_dataset: Dataset of the output.
        output_offset: Offset of the output in world units.
        output_shape: Shape of the output in world units.
    """
    run = Run(from_plain(run_config, RunConfig), load_starter_model=False)
    create_weights_store().load_weights(run, iteration)
    config = from_plain(raw_config, ArrayConfig)
    raw = config.array_type(config)
    plan = plan_blocks(run.model, raw, Roi(output_offset, output_shape))
    output = ZarrArray.open_from_array_identifier(LocalArrayIdentifier(Path(output_container), output_dataset))
    predictor = BlockPredictor(run, raw, plan, output, create_compute_context().device)
    return lambda block: predictor.process(Roi(block.write_roi.offset, block.write_roi.shape))
