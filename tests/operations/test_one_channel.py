"""Predictions and segmentations of one channel: without a channel axis on disk, and read with or without one."""

from __future__ import annotations

import shutil
from pathlib import Path

import attrs
import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from dacapo.apply import apply_run
from dacapo.blockwise import outputs, voxelwise
from dacapo.compute_context import Execution
from dacapo.experiments.datasplits.datasets.arrays import BinarizeArrayConfig, ZarrArray
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.tasks import (
    AffinitiesTaskConfig,
    DistanceTaskConfig,
    HotDistanceTaskConfig,
    InnerDistanceTaskConfig,
    OneHotTaskConfig,
    TaskConfig,
)
from dacapo.experiments.tasks.evaluators import BinarySegmentationEvaluator, InstanceEvaluator
from dacapo.experiments.tasks.post_processors import (
    ArgmaxPostProcessor,
    DummyPostProcessor,
    PostProcessor,
    ThresholdPostProcessor,
    ThresholdPostProcessorParameters,
    WatershedPostProcessor,
)
from dacapo.inference import prediction
from dacapo.inference.evaluation import evaluate_array
from dacapo.inference.prediction import predict_array
from dacapo.options import DaCapoConfig
from dacapo.predict import predict
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import create_array_store, create_config_store, create_weights_store
from dacapo.validate import validate_run
from tests.helpers.runs import affinities_run_config, stored_run, unet_config
from tests.helpers.volumes import new_volume, write_array

SIZE, OFFSET = Coordinate(4, 4), Coordinate(40, 40)
DISTANCES = {"channels": ["a"], "clip_distance": 40.0, "tol_distance": 8.0, "scale_factor": 40.0}


def config_of(folder: Path, task: TaskConfig) -> RunConfig:
    config = affinities_run_config(folder, dims=2, task_config=task, architecture_config=unet_config(2))
    if not isinstance(task, AffinitiesTaskConfig | OneHotTaskConfig):
        groups = [(channel, [number + 1, number + 4]) for number, channel in enumerate(task.channels)]
        for dataset in (*config.datasplit_config.train_configs, *config.datasplit_config.validate_configs):
            dataset.gt_config = BinarizeArrayConfig("classes", dataset.gt_config, groups)
    return config


@pytest.mark.parametrize(
    ("task", "channels"),
    [
        (AffinitiesTaskConfig("affinities", [Coordinate(0, 1)]), (None, None)),
        (AffinitiesTaskConfig("affinities", [Coordinate(0, 1), Coordinate(1, 0)]), (2, None)),
        (DistanceTaskConfig("distances", **DISTANCES), (None, None)),
        (DistanceTaskConfig("distances", **{**DISTANCES, "channels": ["a", "b"]}), (2, 2)),
        (InnerDistanceTaskConfig("inner", **DISTANCES), (None, None)),
        (HotDistanceTaskConfig("hot", **DISTANCES), (2, None)),
        (HotDistanceTaskConfig("hot", **{**DISTANCES, "channels": ["a", "b"]}), (4, 2)),
        (OneHotTaskConfig("classes", [str(label) for label in range(40)]), (40, None)),
        (OneHotTaskConfig("class", ["all"]), (None, None)),
    ],
)
def test_what_is_on_disk(
    options: DaCapoConfig, tmp_path: Path, task: TaskConfig, channels: tuple[int | None, int | None]
) -> None:
    run = Run(config_of(tmp_path, task))
    create_weights_store().store_weights(run, 1)
    validate_run(run, 1)
    criterion = next(name for name in run.validation_scores.criteria if run.task.evaluator.store_best(name))
    best = create_array_store().best_validation_array(run.name, criterion, "validate")
    create_config_store().store_run_config(run.config)
    source = new_volume(tmp_path)
    predicted = predict(run.name, 1, source.container, source.dataset, tmp_path / "predicted.zarr")
    applied = LocalArrayIdentifier(tmp_path / "applied.zarr", "output")
    between = LocalArrayIdentifier(tmp_path / "applied.zarr", "prediction")
    apply_run(run, 1, next(iter(run.task.parameters)), source, between, applied)
    for identifier, count in (
        (predicted, channels[0]),
        (between, channels[0]),
        (applied, channels[1]),
        *([(best, channels[1])] if best.container.joinpath(best.dataset).exists() else []),
    ):
        array = ZarrArray.open_from_array_identifier(identifier)
        assert array.axes == (["y", "x"] if count is None else ["c", "y", "x"])
        assert array.num_channels == count


def both_forms(folder: Path, values: np.ndarray, name: str = "prediction") -> list[LocalArrayIdentifier]:
    """Write values of one channel without a channel axis, and with one."""
    return [
        write_array(folder / "forms.zarr", f"{name}_{number}", form, SIZE, OFFSET)
        for number, form in enumerate((values, values[None]))
    ]


@pytest.mark.parametrize(
    "post_processor",
    [
        ThresholdPostProcessor(),
        ArgmaxPostProcessor(),
        DummyPostProcessor(128),
        WatershedPostProcessor([(0, 1)]),
        pytest.param(WatershedPostProcessor([(0, 1)]), id="in blocks"),
    ],
)
def test_post_processors_read_both_forms(
    options: DaCapoConfig, tmp_path: Path, post_processor: PostProcessor, request: pytest.FixtureRequest
) -> None:
    if "in blocks" in request.node.name:
        post_processor.whole_voxels = 10
    parameters = list(post_processor.enumerate_parameters())[
        1 if len(list(post_processor.enumerate_parameters())) > 1 else 0
    ]
    found = []
    for number, identifier in enumerate(
        both_forms(tmp_path, np.random.default_rng(0).integers(0, 256, (30, 40)).astype(np.uint8))
    ):
        post_processor.set_prediction(identifier)
        output = LocalArrayIdentifier(tmp_path / "out.zarr", str(number))
        array = post_processor.process(parameters, output, num_workers=1, block_size=Coordinate(16, 16))
        found.append(array[array.roi].reshape(30, 40))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("evaluator", [BinarySegmentationEvaluator(20, 4, ["a"]), InstanceEvaluator()])
def test_evaluators_read_both_forms(options: DaCapoConfig, tmp_path: Path, evaluator: object) -> None:
    rng = np.random.default_rng(0)
    segmentations = both_forms(tmp_path, rng.integers(0, 2, (30, 40)).astype(np.uint8), "segmentation")
    truths = both_forms(tmp_path, rng.integers(0, 2, (30, 40)).astype(np.uint8), "truth")
    scores = [
        evaluator.evaluate(output, ZarrArray.open_from_array_identifier(truth))
        for output in segmentations
        for truth in truths
    ]
    assert all(attrs.asdict(score) == attrs.asdict(scores[0]) for score in scores)


def with_axis(patch: pytest.MonkeyPatch) -> None:
    """Write as earlier versions did, one channel with an axis too."""
    for module in (outputs, prediction, voxelwise):
        patch.setattr(module, "channels_on_disk", lambda count: count)


def test_validation_arrays_of_both_forms_have_the_same_scores(
    options: DaCapoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(config_of(tmp_path, DistanceTaskConfig("distances", **DISTANCES)))
    create_weights_store().store_weights(run, 1)
    now = validate_run(run, 1)
    with monkeypatch.context() as patch:
        with_axis(patch)
        before = validate_run(run, 1)
    np.testing.assert_array_equal(now.scores, before.scores)

    # What the segmentation of one form is scored by in blocks does not depend on the form either.
    dataset = run.datasplit.validate[0]
    whole = dataset.gt[dataset.gt.roi][0]
    results = [
        evaluate_array(run, dataset, dataset.gt, identifier, Execution(1))
        for identifier in (
            write_array(tmp_path / "s.zarr", "plain", whole, SIZE, OFFSET),
            write_array(tmp_path / "s.zarr", "channel", whole[None], SIZE, OFFSET),
        )
    ]
    assert results[0].a__dice == results[1].a__dice == 1


@pytest.mark.parametrize("task", [DistanceTaskConfig("d", **DISTANCES), HotDistanceTaskConfig("h", **DISTANCES)])
def test_work_that_began_with_an_axis_goes_on(
    options: DaCapoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: TaskConfig
) -> None:
    run, source = stored_run(tmp_path, task), new_volume(tmp_path)
    parameters = ThresholdPostProcessorParameters(0, 60)

    def arrays(name: str) -> tuple[LocalArrayIdentifier, LocalArrayIdentifier]:
        return LocalArrayIdentifier(tmp_path / name, "prediction"), LocalArrayIdentifier(tmp_path / name, "mask")

    apply_run(run, 1, parameters, source, *arrays("whole.zarr"))
    expected = [ZarrArray.open_from_array_identifier(array) for array in arrays("whole.zarr")]

    for after in ("prediction", "mask"):
        shutil.rmtree(tmp_path / "out.zarr", ignore_errors=True)
        with monkeypatch.context() as patch:
            with_axis(patch)

            def dies(*_: object) -> None:
                raise KeyboardInterrupt

            patch.setattr(
                prediction.BlockPredictor if after == "prediction" else voxelwise.VoxelwiseOperation, "process", dies
            )
            with pytest.raises(KeyboardInterrupt):
                apply_run(run, 1, parameters, source, *arrays("out.zarr"))
        begun = ZarrArray.open_from_array_identifier(arrays("out.zarr")[after == "mask"])
        assert begun.channel_axis == 0
        assert not begun[begun.roi].any()
        apply_run(run, 1, parameters, source, *arrays("out.zarr"))
        for array, other in zip(arrays("out.zarr"), expected, strict=True):
            found = ZarrArray.open_from_array_identifier(array)
            assert found.roi == other.roi
            np.testing.assert_array_equal(found[found.roi].squeeze(), other[other.roi].squeeze())
        assert ZarrArray.open_from_array_identifier(arrays("out.zarr")[after == "mask"]).channel_axis == 0
        assert expected[1][expected[1].roi].any()


def test_a_part_of_a_volume_in_3d(tmp_path: Path, options: DaCapoConfig) -> None:
    task = AffinitiesTaskConfig("affinities", [Coordinate(0, 0, 1)])
    run = Run(affinities_run_config(tmp_path, task_config=task))
    raw = run.datasplit.train[0].raw
    roi = Roi(raw.roi.offset + raw.voxel_size * 3, raw.voxel_size * 10)
    output = predict_array(run, raw, LocalArrayIdentifier(tmp_path / "o.zarr", "p"), output_roi=roi)
    assert (output.axes, output.roi) == (["z", "y", "x"], roi)
