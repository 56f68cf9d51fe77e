"""The work that is killed: each way to write arrays block by block, on tiny data."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from funlib.geometry import Coordinate

from dacapo.apply import apply_run
from dacapo.convert import convert
from dacapo.experiments.datasplits.datasets.arrays import open_array
from dacapo.experiments.run import Run
from dacapo.experiments.tasks import AffinitiesTaskConfig
from dacapo.experiments.tasks.post_processors import (
    AgglomerationPostProcessor,
    AgglomerationPostProcessorParameters,
    PostProcessorParameters,
    WatershedPostProcessor,
    WatershedPostProcessorParameters,
    agglomeration_post_processor,
    watershed_post_processor,
)
from dacapo.inference import budget
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import create_config_store, create_weights_store
from tests.helpers.volumes import cells, write_array

from .writers import RUN, Report, Writer, arrays_of, digest, expect, small_run

_BLOCK = Coordinate(32, 32)


class Applying(Writer):
    """Predicting block by block, the mutex watershed of the whole, and smaller levels."""

    shape: tuple[int, ...] = (90, 100)
    whole_voxels = 2**25
    num_workers = 1
    post_processor = "mutex_watershed"
    parameters: PostProcessorParameters = WatershedPostProcessorParameters(id=0, bias=0.5, context=Coordinate(8, 8))

    def prepare(self) -> None:
        neighborhood = [Coordinate(1, 0), Coordinate(0, 1)]
        task = AffinitiesTaskConfig("affinities", neighborhood=neighborhood, post_processor=self.post_processor)
        create_config_store().store_run_config(small_run(self.folder, task_config=task))
        run = Run(create_config_store().retrieve_run_config(RUN))
        torch.manual_seed(3)
        for parameter in run.model.parameters():
            torch.nn.init.normal_(parameter, 0, 0.3)
        create_weights_store().store_weights(run, 1)
        write_array(self.folder / "new.zarr", "raw", cells(self.shape, 5)[0], Coordinate(4, 4), Coordinate(40, 40))

    def work(self, report: Report) -> None:
        budget._ENOUGH_VOXELS = {2: 32}  # many blocks
        budget._ENOUGH_CONTEXTS = 1
        WatershedPostProcessor.whole_voxels = AgglomerationPostProcessor.whole_voxels = self.whole_voxels
        apply_run(
            Run(create_config_store().retrieve_run_config(RUN)),
            1,
            self.parameters,
            LocalArrayIdentifier(self.folder / "new.zarr", "raw"),
            LocalArrayIdentifier(self.folder / "out.zarr", "prediction/s0"),
            LocalArrayIdentifier(self.folder / "out.zarr", "labels/all/s0"),
            num_workers=self.num_workers,
            overwrite=False,
        )
        report(1)

    def check(self, reported: int) -> None:
        found = arrays_of(self.folder / "out.zarr")
        expect(reported < 1 or "labels/all/s0" in found, "the labels are lost")

    def result(self) -> dict[str, Any]:
        return arrays_of(self.folder / "out.zarr")


class Segmenting(Applying):
    """The same with a segmentation in blocks, in all of its passes."""

    whole_voxels = 0

    def work(self, report: Report) -> None:
        for module in (watershed_post_processor, agglomeration_post_processor):
            vars(module)["fit_block_shape"] = lambda block, volume: _BLOCK
        super().work(report)


class SegmentingInWorkers(Segmenting):
    """The same in two worker processes, which end when their parent is killed."""

    num_workers = 2


class Agglomerating(Segmenting):
    """The same with an agglomeration in blocks, in all of its passes."""

    post_processor = "agglomeration"
    parameters = AgglomerationPostProcessorParameters(id=0, merge_threshold=0.5)


class AgglomeratingInWorkers(Agglomerating):
    """The same in two worker processes."""

    num_workers = 2


class Converting(Writer):
    """Converting an array to OME-Zarr with smaller levels, and to each of the other formats."""

    outputs = ("image.zarr", "volume.n5", "volume.h5", "volume.tif", "volume.precomputed", "planes")

    def prepare(self) -> None:
        values = cells((6, 200, 300), 5)[0]
        write_array(self.folder / "new.zarr", "raw", values, Coordinate(4, 4, 4), Coordinate(40, 40, 40))

    def work(self, report: Report) -> None:
        for number, output in enumerate(self.outputs):
            file_format = "png" if output == "planes" else None
            convert(self.folder / "new.zarr", self.folder / output, "raw", file_format=file_format)
            report(number)

    def check(self, reported: int) -> None:
        for output in self.outputs[: reported + 1]:
            expect(self.read(output) == self.read("new.zarr"), f"{output} is lost")

    def read(self, output: str) -> str:
        array = open_array(self.folder / output, "raw" if output.endswith((".zarr", ".n5")) else None)
        return digest(np.asarray(array[array.roi]))

    def result(self) -> dict[str, Any]:
        return {**arrays_of(self.folder / "image.zarr"), **{name: self.read(name) for name in self.outputs}}


BLOCK_WRITERS: dict[str, type[Writer]] = {
    "apply": Applying,
    "segmentation": Segmenting,
    "segmentation in workers": SegmentingInWorkers,
    "agglomeration": Agglomerating,
    "agglomeration in workers": AgglomeratingInWorkers,
    "conversion": Converting,
}
