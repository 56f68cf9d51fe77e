"""Validation records every score at its place, and keeps the best."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
import zarr
from funlib.geometry import Coordinate

from dacapo.errors import (
    BlockwiseError,
    ChannelMismatchError,
    ConfigError,
    DtypeError,
    EvaluationError,
    RecordError,
    RoiError,
)
from dacapo.experiments.best import keep_best
from dacapo.experiments.datasplits.datasets import RawGTDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import BinarizeArrayConfig, ZarrArray, ZarrArrayConfig, open_array
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.selection import select
from dacapo.experiments.tasks import DistanceTaskConfig, OneHotTaskConfig
from dacapo.experiments.tasks.evaluators import InstanceEvaluator
from dacapo.experiments.tasks.post_processors import WatershedPostProcessor
from dacapo.options import DaCapoConfig
from dacapo.store import folders
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import create_array_store, create_config_store, create_stats_store, create_weights_store
from dacapo.train import train
from dacapo.validate import validate, validate_run
from tests.helpers.ome_schema import check_ome_group
from tests.helpers.processes import dying_at, killed
from tests.helpers.runs import affinities_run_config, dummy_run_config
from tests.helpers.volumes import OFFSET, VOXEL_SIZE, cells, stored_values, write_array


@pytest.fixture
def run(options: DaCapoConfig, tmp_path: Path) -> Run:
    config = affinities_run_config(tmp_path)
    create_config_store().store_run_config(config)
    run = Run(config)
    create_weights_store().store_weights(run, 3)
    return run


def test_scores_of_all_parameters_are_stored(run: Run) -> None:
    scores = validate_run(run, 3)
    values = np.array(scores.scores)
    assert values.shape == (1, 5, 3)
    assert np.isfinite(values).all()
    assert create_stats_store().retrieve_validation_iteration_scores(run.name) == [scores]


def test_best_weights_and_output_are_kept_and_the_rest_is_deleted(run: Run) -> None:
    validate_run(run, 3)
    arrays = create_array_store()
    best = arrays.best_validation_array(run.name, "voi", "validate")
    assert (best.container / best.dataset / ".zarray").exists()
    assert not (arrays.validation_container(run.name).container / "3").exists()
    assert create_weights_store().retrieve_best(run.name, "validate", "voi") == 3


def test_best_outputs_do_not_change_with_each_other(run: Run) -> None:
    validate_run(run, 3)
    arrays = create_array_store()
    one, other = (arrays.best_validation_array(run.name, name, "validate") for name in ("voi", "voi_split"))
    kept = stored_values(other)
    written = ZarrArray.open_from_array_identifier(one)
    written[written.roi] = 0
    written.add_metadata({"changed": True})
    assert kept.any()
    assert (stored_values(other) == kept).all()
    assert "changed" not in ZarrArray.open_from_array_identifier(other, mode="r").attrs


@pytest.mark.destructive
def test_the_best_output_exists_whenever_validation_is_killed(run: Run) -> None:
    validate_run(run, 3)
    best = create_array_store().best_validation_array(run.name, "voi", "validate")
    kept, moment, was_killed = stored_values(best), 0, True
    assert kept.any()
    while was_killed:

        def work(moment: int = moment) -> None:
            dying_at(moment, [(folders, "exchange"), (os, "rename"), (shutil, "rmtree")])
            keep_best(run, 3)

        for parameters in run.task.parameters:  # as before validation ended
            output = create_array_store().validation_output_array(run.name, 3, str(parameters), "validate")
            shutil.rmtree(output.container / output.dataset, ignore_errors=True)
            shutil.copytree(best.container / best.dataset, output.container / output.dataset)
        was_killed = killed(work)
        np.testing.assert_array_equal(stored_values(best), kept)
        moment += 1
    assert moment > 3


@pytest.mark.destructive
def test_a_best_output_lost_between_two_renames_is_back_after_the_next_validation(run: Run) -> None:
    validate_run(run, 3)
    best = create_array_store().best_validation_array(run.name, "voi", "validate")
    kept, path = stored_values(best), best.container / best.dataset
    path.rename(path.with_name(f".{path.name}.old"))  # as on a file system that cannot exchange names
    create_weights_store().store_weights(run, 6)
    run.validation_scores.scores[0].scores[0][0][:] = [0.0, 0.0, 0.0]  # which no other iteration beats
    validate_run(run, 6)
    np.testing.assert_array_equal(stored_values(best), kept)
    assert not path.with_name(f".{path.name}.old").exists()


def test_a_worse_iteration_does_not_become_the_best(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    validate_run(run, 3)
    create_weights_store().store_weights(run, 6)
    evaluate = InstanceEvaluator.evaluate

    def worse(*args: object) -> object:
        scores = evaluate(*args)  # type: ignore[arg-type]
        scores.voi_split += 1
        scores.voi_merge += 1
        return scores

    monkeypatch.setattr(InstanceEvaluator, "evaluate", worse)
    validate_run(run, 6)
    assert create_weights_store().retrieve_best(run.name, "validate", "voi") == 3
    assert [s.iteration for s in create_stats_store().retrieve_validation_iteration_scores(run.name)] == [3, 6]


def test_what_cannot_be_scored_is_nan_with_its_reason_and_shifts_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = validate_run(run, 3).scores
    evaluate = InstanceEvaluator.evaluate
    second = list(run.task.parameters)[1]

    def second_fails(evaluator: InstanceEvaluator, output: LocalArrayIdentifier, *args: object) -> object:
        if str(second) in output.dataset:
            raise EvaluationError("nothing to compare")
        return evaluate(evaluator, output, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(InstanceEvaluator, "evaluate", second_fails)
    scores = validate_run(run, 3)
    assert all(map(math.isnan, scores.scores[0][1]))
    for parameter in (0, 2, 3, 4):
        assert scores.scores[0][parameter] == whole[0][parameter]
    assert scores.reasons == {f"validate/{second}": "nothing to compare"}
    stored = create_stats_store().retrieve_validation_iteration_scores(run.name)[0]
    assert stored.reasons == scores.reasons
    assert math.isnan(stored.scores[0][1][0])


@pytest.mark.parametrize("error", [OSError("disk full"), ValueError("a mistake in the code")])
def test_an_error_that_is_not_the_datas_fails_the_run(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(WatershedPostProcessor, "process_all", fail)
    with pytest.raises(type(error), match=str(error)):
        validate_run(run, 3)
    assert create_stats_store().retrieve_validation_iteration_scores(run.name) == []


def test_scores_are_replaced_only_where_allowed(run: Run) -> None:
    validate_run(run, 3)
    validate_run(run, 3)
    assert len(run.validation_scores.scores) == 1
    with pytest.raises(ConfigError, match="already has scores of iteration 3"):
        validate_run(run, 3, overwrite=False)


def test_a_run_without_validation_data_says_so(options: DaCapoConfig) -> None:
    with pytest.raises(ConfigError, match="has no validation datasets"):
        validate_run(Run(dummy_run_config()), 1)


def _float_labels(config: RawGTDatasetConfig, raw: np.ndarray, labels: np.ndarray) -> None:
    write_array(config.gt_config.file_name, "changed", labels.astype(np.float32))
    config.gt_config.dataset = "changed"


def _small(config: RawGTDatasetConfig, raw: np.ndarray, labels: np.ndarray) -> None:
    write_array(config.gt_config.file_name, "changed", raw[:20])
    config.raw_config.source_array_config.dataset = "changed"


def _large_voxels(config: RawGTDatasetConfig, raw: np.ndarray, labels: np.ndarray) -> None:
    write_array(config.gt_config.file_name, "changed", labels[::2, ::2, ::2], VOXEL_SIZE * 2)
    config.gt_config.dataset = "changed"


def _mask_between_voxels(config: RawGTDatasetConfig, raw: np.ndarray, labels: np.ndarray) -> None:
    write_array(config.gt_config.file_name, "mask", (labels > 0).astype(np.uint8), offset=OFFSET + Coordinate(4, 0, 0))
    config.mask_config = ZarrArrayConfig("mask", config.gt_config.file_name, "mask")


def _three_channels(config: RawGTDatasetConfig, raw: np.ndarray, labels: np.ndarray) -> None:
    write_array(config.gt_config.file_name, "changed", np.stack([raw] * 3))
    config.raw_config.source_array_config.dataset = "changed"


def _path_as_name(config: RawGTDatasetConfig, raw: np.ndarray, labels: np.ndarray) -> None:
    config.name = "a/b"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (_float_labels, DtypeError),
        (_small, RoiError),
        (_three_channels, ChannelMismatchError),
        (_path_as_name, ConfigError),
        (_large_voxels, EvaluationError),
        (_mask_between_voxels, EvaluationError),
    ],
)
def test_what_can_never_be_validated_is_refused_before_training(
    options: DaCapoConfig, tmp_path: Path, change: Callable[..., None], error: type[Exception]
) -> None:
    config = affinities_run_config(tmp_path)
    change(config.datasplit_config.validate_configs[0], *cells((40, 40, 40)))
    create_config_store().store_run_config(config)
    with pytest.raises(error, match=r"validation dataset '(validate|a/b)': "):
        train(config.name)
    assert create_weights_store().latest_iteration(config.name) is None
    assert create_stats_store().retrieve_training_stats(config.name).trained_until() == 0


def test_scores_of_other_datasets_are_not_mixed_with_new_ones(options: DaCapoConfig, tmp_path: Path) -> None:
    config = affinities_run_config(tmp_path)
    first = config.datasplit_config.validate_configs[0]
    config.datasplit_config.validate_configs.append(attrs.evolve(first, name="other"))
    create_config_store().store_run_config(config)
    create_weights_store().store_weights(Run(config), 3)
    assert validate(config.name, 3).datasets == ["validate", "other"]
    assert select(Run(config), "voi").iteration == 3
    config.datasplit_config.validate_configs.reverse()
    create_config_store().delete_run_config(config.name)
    create_config_store().store_run_config(config)
    for again in (validate, lambda *_: select(Run(config), "voi")):
        with pytest.raises(RecordError, match=r"iteration 3.*\['validate', 'other'\].*\['other', 'validate'\]"):
            again(config.name, 3)


def test_a_dataset_may_be_called_like_an_iteration(options: DaCapoConfig, tmp_path: Path) -> None:
    config = affinities_run_config(tmp_path)
    config.datasplit_config.validate_configs[0].name = "3"
    run = Run(config)
    create_weights_store().store_weights(run, 3)
    validate_run(run, 3)
    best = create_array_store().best_validation_array(run.name, "voi", "3")
    group = best.container / "3"
    assert ZarrArray.open_from_array_identifier(best).dtype == np.uint64
    assert {path.name for path in group.iterdir() if path.is_dir()} == {"voi", "voi_split", "voi_merge"}


def test_best_outputs_are_images_for_viewers(run: Run) -> None:
    validate_run(run, 3)
    best = create_array_store().best_validation_array(run.name, "voi", "validate")
    array, group = ZarrArray.open_from_array_identifier(best, mode="r"), best.container / "validate"
    opened = zarr.open_group(str(group), mode="r")
    attributes = dict(opened.attrs)
    check_ome_group(attributes, {name: array.ndim for name, array in opened.arrays()})
    described = {image["datasets"][0]["path"]: image for image in attributes["multiscales"]}
    assert set(described) == {"voi", "voi_split", "voi_merge"}
    scale, translation = described["voi"]["datasets"][0]["coordinateTransformations"]
    assert scale["scale"] == list(array.spacing)
    assert translation["translation"] == list(map(float, array.world.in_units(array.roi.offset)))
    assert [axis["unit"] for axis in described["voi"]["axes"]] == ["nanometer"] * 3
    assert open_array(group, "voi").roi == array.roi


def test_validate_by_name_equals_the_run_in_memory(run: Run) -> None:
    assert validate(run.name, 3).scores == validate_run(run, 3).scores


def test_validation_does_not_change_the_model_or_its_mode(run: Run) -> None:
    before = {k: v.clone() for k, v in run.model.state_dict().items()}
    run.model.train()
    validate_run(run, 3)
    assert run.model.training
    assert all((before[k] == v).all() for k, v in run.model.state_dict().items())


@pytest.mark.parametrize(
    "task",
    [
        DistanceTaskConfig(name="d", channels=["cell"], clip_distance=40.0, tol_distance=8.0, scale_factor=40.0),
        OneHotTaskConfig(name="o", classes=["a", "b"]),
    ],
)
def test_semantic_tasks_train_and_validate(options: DaCapoConfig, tmp_path: Path, task: object) -> None:
    config = affinities_run_config(tmp_path, task_config=task, num_iterations=2, validation_interval=2)  # type: ignore[arg-type]
    for dataset in (*config.datasplit_config.train_configs, *config.datasplit_config.validate_configs):
        from dacapo.experiments.datasplits.datasets.arrays import BinarizeArrayConfig, LogicalOrArrayConfig

        groups = [("cell", [1, 2, 3, 4, 5, 6, 7, 8])]
        cell = BinarizeArrayConfig(name="cell", source_array_config=dataset.gt_config, groupings=groups)
        dataset.gt_config = cell if isinstance(task, DistanceTaskConfig) else LogicalOrArrayConfig("any", cell)
    create_config_store().store_run_config(config)
    run = train(config.name)
    values = np.array(run.validation_scores.scores[0].scores)
    assert values.shape[0] == 1
    assert np.isfinite(values).any()


def test_a_block_that_fails_fails_validation(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.trainer, "prepare_input", lambda raw: raw[:1])
    with pytest.raises(BlockwiseError):
        validate_run(run, 3)


def with_mask(config: RunConfig, mask: np.ndarray) -> RunConfig:
    (dataset,) = config.datasplit_config.validate_configs
    path = dataset.gt_config.file_name
    write_array(path, "mask", mask.astype(np.uint8))
    dataset.mask_config = ZarrArrayConfig("mask", path, "mask")
    return config


def test_masked_voxels_change_no_score(options: DaCapoConfig, tmp_path: Path) -> None:
    mask = np.zeros((40, 40, 40), bool)
    mask[5:30, :, 10:] = True
    run = Run(with_mask(affinities_run_config(tmp_path), mask))
    create_weights_store().store_weights(run, 0)
    masked = validate_run(run, 0).scores
    assert run.task.evaluator.mask is None
    truth = ZarrArray(ZarrArrayConfig("labels", tmp_path / "validate.zarr", "labels"))
    truth[truth.roi] = np.where(mask, truth[truth.roi], 500)
    assert validate_run(run, 0).scores == masked
    run.datasplit.validate[0].mask = None
    assert validate_run(run, 0).scores != masked


def test_a_mask_of_nothing_is_a_reason(options: DaCapoConfig, tmp_path: Path) -> None:
    run = Run(with_mask(affinities_run_config(tmp_path), np.zeros((40, 40, 40))))
    scores = validate_run(run, 0)
    assert np.isnan(scores.scores).all()
    assert set(scores.reasons) == {f"validate/{parameters}" for parameters in run.task.parameters}
    assert "mask is 0 everywhere" in next(iter(scores.reasons.values()))


def distance_run(folder: Path) -> Run:
    task = DistanceTaskConfig(name="d", channels=["cell"], clip_distance=40.0, tol_distance=8.0, scale_factor=40.0)
    config = affinities_run_config(folder, task_config=task)
    for dataset in (*config.datasplit_config.train_configs, *config.datasplit_config.validate_configs):
        groups = [("cell", list(range(1, 9)))]
        dataset.gt_config = BinarizeArrayConfig("cell", dataset.gt_config, groups)
    return Run(config)


def test_single_scores_without_value_have_a_reason(run: Run, tmp_path: Path) -> None:
    distances = distance_run(tmp_path)
    for parameter in distances.model.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.constant_(distances.model.prediction_head.bias, -5)
    scores = validate_run(distances, 0)
    names = distances.validation_scores.criteria
    for values, reason in zip(scores.scores[0], scores.reasons.values(), strict=True):
        assert values[names.index("cell__jaccard")] == 0
        assert np.isnan(values[names.index("cell__voi")])
        assert "no foreground: cell__hausdorff, " in reason


def test_a_floating_point_prediction_has_the_scores_of_uint8(options: DaCapoConfig, tmp_path: Path) -> None:
    run = distance_run(tmp_path)
    with torch.no_grad():  # spread the predictions of the untrained network around 0
        run.model.prediction_head.weight *= 30
        run.model.prediction_head.bias[:] = 0
    create_weights_store().store_weights(run, 0)
    rounded, exact = (np.array(validate_run(run, 0, output_dtype=dtype).scores) for dtype in ("uint8", "float32"))
    assert np.isfinite(exact).all()
    assert len(np.unique(exact[0, :, 0])) == 3
    shares = [i for i, name in enumerate(run.validation_scores.criteria) if run.task.evaluator.bounds(name)[1] == 1]
    np.testing.assert_allclose(exact[..., shares], rounded[..., shares], atol=2e-4)
