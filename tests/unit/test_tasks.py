"""Tasks and their configs."""

from __future__ import annotations

import inspect
from pathlib import Path

import attrs
import gunpowder as gp
import numpy as np
import pytest
import torch
from funlib.geometry import Coordinate, Roi

from dacapo.errors import ConfigError, NotFoundError, StorageError, UnsafeFileError
from dacapo.experiments.architectures import DummyArchitecture, DummyArchitectureConfig
from dacapo.experiments.config import usable_configs
from dacapo.experiments.datasplits.datasets.arrays import NumpyArray, ZarrArray
from dacapo.experiments.tasks import (
    AffinitiesTask,
    AffinitiesTaskConfig,
    DistanceTask,
    DistanceTaskConfig,
    DummyTask,
    DummyTaskConfig,
    HotDistanceTask,
    HotDistanceTaskConfig,
    InnerDistanceTaskConfig,
    OneHotTask,
    OneHotTaskConfig,
    PretrainedTask,
    PretrainedTaskConfig,
    Task,
    TaskConfig,
)
from dacapo.experiments.tasks.post_processors import ThresholdPostProcessorParameters
from dacapo.experiments.tasks.predictors import DummyPredictor
from dacapo.gp import DaCapoArraySource, DaCapoTargetFilter
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.converter import from_plain
from dacapo.testing.task import Body, TaskContract, array
from tests.helpers.golden_data import GOLDEN


def blocks(shape, classes):
    """Return labels below ``classes``, in blocks of three voxels."""
    indices = np.indices(shape) // 3
    return (indices.sum(axis=0) % classes).astype(np.uint8)


def binary_channels(shape):
    return np.stack([blocks(shape, 2), (blocks(shape, 3) == 1).astype(np.uint8)])


class TestDummyTask(TaskContract):
    def config(self):
        return DummyTaskConfig(name="dummy", embedding_dims=2, detection_threshold=0.5)

    def ground_truth(self, shape):
        return blocks(shape, 2)


class TestDummyTask2D(TestDummyTask):
    dims = 2


def test_the_dummy_head_sees_the_neighbors_of_a_voxel() -> None:
    model = DummyTask(DummyTaskConfig("dummy", 3, 0.5)).create_model(
        DummyArchitecture(DummyArchitectureConfig("architecture", num_in_channels=1, num_out_channels=2))
    )
    assert model.state_dict()["prediction_head.weight"].shape == (3, 2, 3, 3, 3)
    assert (model.input_shape, model.output_shape) == (Coordinate(40, 20, 20), Coordinate(36, 16, 16))


class OwnTask(Task):
    """A task whose parts are set without a config."""


def test_a_task_needs_no_constructor() -> None:
    task = OwnTask()
    task.predictor = DummyPredictor(2)
    assert task.predictor.embedding_dims == 2
    assert not inspect.isabstract(Task)


class TestAffinitiesTask(TaskContract):
    def config(self):
        return AffinitiesTaskConfig(name="affs", neighborhood=[Coordinate(1, 0, 0), Coordinate(0, -3, 2)])

    def ground_truth(self, shape):
        return blocks(shape, 5).astype(np.uint64)


class TestAffinitiesTaskWithDescriptors2D(TaskContract):
    dims = 2

    def config(self):
        return AffinitiesTaskConfig(
            name="affs", neighborhood=[Coordinate(1, 0), Coordinate(0, 1)], lsds=True, background_as_object=True
        )

    def ground_truth(self, shape):
        return blocks(shape, 5)[np.newaxis]


class TestDistanceTask(TaskContract):
    def config(self):
        return DistanceTaskConfig(name="d", channels=["a", "b"], clip_distance=9, tol_distance=2, scale_factor=5)

    def ground_truth(self, shape):
        return binary_channels(shape)


class TestDistanceTaskOfOneChannel2D(TaskContract):
    dims = 2

    def config(self):
        return DistanceTaskConfig(
            name="d", channels=["a"], clip_distance=9, tol_distance=2, scale_factor=5.5, mask_distances=False
        )

    def ground_truth(self, shape):
        return blocks(shape, 2)


class TestInnerDistanceTask(TaskContract):
    def config(self):
        return InnerDistanceTaskConfig(name="i", channels=["a", "b"], clip_distance=9, tol_distance=2, scale_factor=5)

    def ground_truth(self, shape):
        return binary_channels(shape)


class TestHotDistanceTask(TaskContract):
    def config(self):
        return HotDistanceTaskConfig(
            name="h", channels=["a", "b"], clip_distance=9, tol_distance=2, scale_factor=5, mask_distances=True
        )

    def ground_truth(self, shape):
        return binary_channels(shape)


class TestHotDistanceTaskWithoutMask2D(TaskContract):
    dims = 2

    def config(self):
        return HotDistanceTaskConfig(name="h", channels=["a"], clip_distance=9, tol_distance=2, scale_factor=5)

    def ground_truth(self, shape):
        return blocks(shape, 2)


class TestOneHotTask(TaskContract):
    masks_weights = False

    def config(self):
        return OneHotTaskConfig(name="o", classes=["background", "a", "b"])

    def ground_truth(self, shape):
        return blocks(shape, 3)


class TestPretrainedTask(TaskContract):
    dims = 2

    @pytest.fixture(autouse=True)
    def weights(self, tmp_path):
        self.path = tmp_path / "weights"
        config = self.sub_config()
        torch.save(config.task_type(config).create_model(Body(2)).state_dict(), self.path)

    def sub_config(self):
        return DistanceTaskConfig(name="d", channels=["a"], clip_distance=9, tol_distance=2, scale_factor=5)

    def config(self):
        return PretrainedTaskConfig(name="p", sub_task_config=self.sub_config(), weights=self.path)

    def ground_truth(self, shape):
        return blocks(shape, 2)


def test_every_task_keeps_the_contract():
    here = [suite for suite in TaskContract.__subclasses__() if suite.__module__ == __name__]
    # The pretrained one has no config before its weights are written.
    tested = {type(suite().config()) for suite in here if suite is not TestPretrainedTask} | {PretrainedTaskConfig}
    ours = {cls for cls in usable_configs(TaskConfig).values() if cls.__module__.startswith("dacapo.")}
    assert ours == tested


DISTANCE = DistanceTaskConfig(name="d", channels=["a"], clip_distance=9, tol_distance=2, scale_factor=5)
HOT = HotDistanceTaskConfig(name="h", channels=["a"], clip_distance=9, tol_distance=2)
INNER = InnerDistanceTaskConfig(name="i", channels=["a"], clip_distance=9, tol_distance=2)
ONE_HOT = OneHotTaskConfig(name="o", classes=["background", "a"])
AFFINITIES = AffinitiesTaskConfig(name="a", neighborhood=[Coordinate(1, 0), Coordinate(0, 1)])


@pytest.mark.parametrize("config", [DISTANCE, HOT, INNER, ONE_HOT, AFFINITIES], ids=lambda c: type(c).__name__)
def test_sound_configs_pass(config):
    assert config.verify()[0]


@pytest.mark.parametrize(
    ("config", "changes", "word"),
    [
        (AFFINITIES, {"neighborhood": []}, "empty"),
        (AFFINITIES, {"neighborhood": [Coordinate(1, 0), Coordinate(1, 0, 0)]}, "2 or of 3"),
        (AFFINITIES, {"neighborhood": [Coordinate(1, 0, 0, 0)]}, "2 or of 3"),
        (AFFINITIES, {"neighborhood": [Coordinate(1, 0), Coordinate(0, 0)]}, "zeros"),
        (AFFINITIES, {"neighborhood": [Coordinate(1, 0), Coordinate(1, 0)]}, "twice"),
        (AFFINITIES, {"neighborhood": [Coordinate(5, 0)]}, "direct"),
        (AFFINITIES, {"affs_weight_clipmin": 0.95}, "affs_weight_clipmin"),
        (AFFINITIES, {"lsd_weight_clipmax": 1.5}, "lsd_weight_clipmax"),
        (AFFINITIES, {"lsds_to_affs_weight_ratio": -1}, "ratio"),
        (DISTANCE, {"channels": []}, "empty"),
        (DISTANCE, {"channels": ["a", "a"]}, "twice"),
        (DISTANCE, {"scale_factor": 0}, "scale_factor"),
        (DISTANCE, {"clip_distance": -1}, "clip_distance"),
        (DISTANCE, {"tol_distance": float("nan")}, "tol_distance"),
        (DISTANCE, {"clipmin": 0.9, "clipmax": 0.1}, "clipmin"),
        (HOT, {"scale_factor": -1}, "scale_factor"),
        (INNER, {"channels": ["a", "b", "a"]}, "twice"),
        (ONE_HOT, {"classes": ["a"]}, "single"),
        (ONE_HOT, {"classes": []}, "empty"),
    ],
)
def test_verify_says_what_is_wrong(config, changes, word):
    valid, reason = attrs.evolve(config, **changes).verify()
    assert not valid
    assert config.name in reason
    assert word in reason


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("config_store/tasks/*.yaml")), ids=lambda path: path.stem)
def test_stored_configs_of_the_original_load(path):
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("tag:yaml.org,2002:python/tuple", lambda loader, node: loader.construct_sequence(node))
    config = from_plain(yaml.load(path.read_text(), Loader=Loader), TaskConfig)
    assert config.name == path.stem
    assert isinstance(config.task_type(config).evaluation_scores.criteria, list)


def test_task_is_abstract_by_its_config():
    assert AffinitiesTaskConfig.task_type is AffinitiesTask
    assert DistanceTaskConfig.task_type is DistanceTask
    assert HotDistanceTaskConfig.task_type is HotDistanceTask
    assert OneHotTaskConfig.task_type is OneHotTask
    assert PretrainedTaskConfig.task_type is PretrainedTask


def test_affinities_task_passes_its_settings_on():
    config = AffinitiesTaskConfig(
        name="a",
        neighborhood=[Coordinate(1, 0), Coordinate(0, 1)],
        lsds=True,
        lsds_to_affs_weight_ratio=0.25,
        affs_weight_clipmin=0.1,
        affs_weight_clipmax=0.8,
        lsd_weight_clipmin=0.2,
        lsd_weight_clipmax=0.7,
        background_as_object=True,
    )
    task = AffinitiesTask(config)
    for name in ("lsds", "affs_weight_clipmin", "affs_weight_clipmax", "lsd_weight_clipmin", "lsd_weight_clipmax"):
        assert getattr(task.predictor, name) == getattr(config, name)
    assert task.predictor.background_as_object
    assert (task.loss.num_affinities, task.loss.lsds_to_affs_weight_ratio) == (2, 0.25)


def test_hot_distance_segments_by_its_classes(tmp_path):
    # A prediction has twice as many channels as there are classes to score.
    task = HotDistanceTask(attrs.evolve(HOT, channels=["a", "b"]))
    prediction = ZarrArray.create_from_array_identifier(
        LocalArrayIdentifier(tmp_path / "p.zarr", "prediction"),
        ["c", "y", "x"],
        Roi((0, 0), (12, 14)),
        4,
        Coordinate(2, 2),
        np.uint8,
    )
    values = np.random.default_rng(0).integers(0, 256, (4, 6, 7)).astype(np.uint8)
    prediction[prediction.roi] = values
    task.post_processor.set_prediction(LocalArrayIdentifier(tmp_path / "p.zarr", "prediction"))
    output = LocalArrayIdentifier(tmp_path / "o.zarr", "output")
    result = task.post_processor.process(ThresholdPostProcessorParameters(id=0, threshold=127), output)
    np.testing.assert_array_equal(result[result.roi], values[:2] > 127)
    truth = NumpyArray.from_np_array(
        (values[:2] > 127).astype(np.uint8), prediction.roi, Coordinate(2, 2), ["c", "y", "x"]
    )
    scores = task.evaluator.evaluate(output, truth)
    assert scores.a__dice == scores.b__dice == 1


@pytest.mark.parametrize("channels", [(), (1,)])
def test_one_hot_trains_on_annotated_voxels_only(channels):
    # Its recorded weights are 1 whatever the mask; so the mask takes effect where training makes the weights.
    voxel_size, shape = Coordinate(2, 2), (6, 7)
    labels, mask = blocks(shape, 2), blocks(shape, 3).reshape(*channels, *shape)
    keys = [gp.ArrayKey(f"ONE_HOT_{name}") for name in ("GT", "MASK", "TARGET", "WEIGHT")]
    sources = (
        DaCapoArraySource(array(labels, voxel_size), keys[0], interpolatable=False),
        DaCapoArraySource(array(mask, voxel_size), keys[1], interpolatable=False),
    )
    node = DaCapoTargetFilter(OneHotTask(ONE_HOT).predictor, keys[0], keys[2], keys[3], keys[1])
    request = gp.BatchRequest()
    for key in keys[2:]:
        request[key] = gp.ArraySpec(roi=Roi((0, 0), voxel_size * Coordinate(shape)))
    with gp.build(sources + gp.MergeProvider() + node) as pipeline:
        batch = pipeline.request_batch(request)
    np.testing.assert_array_equal(batch[keys[3]].data, np.broadcast_to(mask != 0, (2, *shape)))


def pretrained(path: Path, **changes) -> PretrainedTask:
    return PretrainedTask(
        PretrainedTaskConfig(name="p", sub_task_config=attrs.evolve(DISTANCE, **changes), weights=path)
    )


@pytest.mark.parametrize("nested", [False, True])
def test_pretrained_model_has_the_weights_of_the_file(tmp_path, nested):
    state = DistanceTask(DISTANCE).create_model(Body(2)).state_dict()
    torch.save({"model": state} if nested else state, tmp_path / "weights")
    loaded = pretrained(tmp_path / "weights").create_model(Body(2)).state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_pretrained_model_keeps_what_does_not_fit(tmp_path, caplog):
    state = DistanceTask(DISTANCE).create_model(Body(2)).state_dict()
    torch.save(state, tmp_path / "weights")
    loaded = pretrained(tmp_path / "weights", channels=["a", "b"]).create_model(Body(2)).state_dict()
    assert torch.equal(loaded["architecture.conv.weight"], state["architecture.conv.weight"])
    assert loaded["prediction_head.weight"].shape == (2, 4, 1, 1)
    assert "prediction_head.weight" in caplog.text


def test_pretrained_reads_a_checkpoint_of_the_original():
    from dacapo.experiments.tasks.pretrained_task import _read_state

    assert "prediction_head.weight" in _read_state(GOLDEN / "checkpoint_original.pt")


def test_pretrained_refuses_what_it_cannot_use(tmp_path):
    with pytest.raises(NotFoundError, match="no_such_file"):
        pretrained(tmp_path / "no_such_file").create_model(Body(2))
    torch.save({"other": torch.zeros(3)}, tmp_path / "other")
    with pytest.raises(ConfigError, match="no layer"):
        pretrained(tmp_path / "other").create_model(Body(2))
    torch.save([1, 2], tmp_path / "list")
    with pytest.raises(StorageError, match="no model state"):
        pretrained(tmp_path / "list").create_model(Body(2))


def test_pretrained_does_not_execute_a_file(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    torch.save({"model": Evil()}, tmp_path / "evil")
    with pytest.raises(UnsafeFileError):
        pretrained(tmp_path / "evil").create_model(Body(2))
    assert not (tmp_path / "executed").exists()


def test_pretrained_verify_looks_for_the_file(tmp_path):
    config = PretrainedTaskConfig(name="p", sub_task_config=DISTANCE, weights=tmp_path / "missing")
    valid, reason = config.verify()
    assert not valid
    assert reason == f"weights: the file {tmp_path / 'missing'} does not exist"
    (tmp_path / "missing").touch()
    assert config.verify()[0]
    assert not attrs.evolve(config, sub_task_config=attrs.evolve(DISTANCE, scale_factor=0)).verify()[0]
