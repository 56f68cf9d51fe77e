"""What holds for the batches of every trainer that samples arrays, and which data it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from dacapo.errors import (
    ChannelMismatchError,
    ConfigError,
    DtypeError,
    InputTooSmallError,
    RoiError,
)
from dacapo.experiments.datasplits.datasets import Dataset
from dacapo.experiments.datasplits.datasets.arrays import (
    ZarrArray,
)
from dacapo.experiments.tasks import (
    AffinitiesTask,
    AffinitiesTaskConfig,
)
from dacapo.experiments.trainers import (
    ElasticAugmentConfig,
    SimpleAugmentConfig,
)
from dacapo.experiments.trainers.batch_sampler import BatchSampler
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.testing.trainer import CPU
from tests.helpers.batch_trainers import BatchTrainers
from tests.helpers.datasets import VOXEL, ArrayDataset, array, coded, coded_dataset, ones, zeros
from tests.helpers.networks import TinyNet, affinities, dummy_task


class BatchContract(BatchTrainers):
    """Laws of batches: subclass it with the class of the trainer's config."""

    # --- in a batch ---

    @pytest.mark.parametrize("upsample", [1, 2])
    def test_raw_and_ground_truth_are_of_the_same_place(self, upsample: int) -> None:
        raw = coded((40, 40)).astype(np.float32)
        labels = np.kron(coded((40, 40)), np.ones((upsample, upsample), dtype=int))
        dataset = ArrayDataset(array(raw, (8, 4)), array(labels, (8, 4), VOXEL / upsample))
        model = dummy_task().create_model(TinyNet(upsample=upsample))
        for batch in self.batches(8, [dataset], model, batch_size=2):
            assert batch.gt is not None
            assert batch.raw.shape == (2, 1, 20, 20)
            assert (
                batch.gt.shape == (2, 18 * upsample, 18 * upsample) == batch.target.shape[:1] + batch.target.shape[2:]
            )
            np.testing.assert_array_equal(batch.raw[:, 0, 1:-1, 1:-1], batch.gt[:, ::upsample, ::upsample])

    def test_ground_truth_may_be_a_small_part_anywhere_on_the_grid_of_raw_voxels(self) -> None:
        raw = coded((40, 40))
        dataset = ArrayDataset(array(raw.astype(np.uint8), (6, 10)), array(raw[7:27, 9:29], (6 + 28, 10 + 36)))
        seen = set()
        for batch in self.batches(40, [dataset]):
            assert batch.gt is not None
            np.testing.assert_array_equal(batch.raw[0, 0, 1:-1, 1:-1], batch.gt[0] % 256)
            assert batch.raw.dtype == np.float32
            seen.add(int(batch.gt.min()))
        assert seen == {(7 + y) * 40 + 9 + x for y in range(3) for x in range(3)}

    def test_raw_data_is_mirrored_where_the_input_is_larger(self) -> None:
        dataset = coded_dataset(20)
        padded = np.pad(coded((20, 20)), 1, mode="reflect")
        for batch in self.batches(20, [dataset]):
            assert batch.gt is not None
            y, x = divmod(int(batch.gt[0, 0, 0]), 20)
            np.testing.assert_array_equal(batch.raw[0, 0], padded[y : y + 20, x : x + 20])

    def test_clipped_raw_data_is_mirrored_at_the_border_of_ground_truth(self) -> None:
        raw = coded((40, 40)).astype(np.float32)
        dataset = ArrayDataset(array(raw), array(coded((40, 40))[10:28, 10:28], (40, 40)))
        (unclipped,), (clipped,) = self.batches(1, [dataset]), self.batches(1, [dataset], clip_raw=True)
        np.testing.assert_array_equal(unclipped.raw[0, 0], raw[9:29, 9:29])
        np.testing.assert_array_equal(clipped.raw[0, 0], np.pad(raw[10:28, 10:28], 1, mode="reflect"))

    def test_ground_truth_without_raw_data_is_not_trained_on(self) -> None:
        raw = coded((30, 40)).astype(np.float32)
        dataset = ArrayDataset(array(raw), array(coded((60, 40))))
        for batch in self.batches(30, [dataset]):
            assert batch.gt is not None
            assert batch.gt.max() < 30 * 40

    def test_everything_is_annotated_without_a_mask_and_nothing_outside(self) -> None:
        dataset = ArrayDataset(array(np.zeros((40, 40), np.float32)), array(np.ones((10, 40), np.uint8), (60, 0)))
        for batch in self.batches(5, [dataset]):
            assert batch.mask is not None
            assert batch.gt is not None
            np.testing.assert_array_equal(batch.mask, batch.gt)
            assert batch.mask.sum() == 10 * 18
            np.testing.assert_array_equal(batch.weight[0, 0] > 0, batch.mask[0] > 0)

    def test_a_mask_counts_only_where_there_are_raw_data_and_ground_truth(self) -> None:
        dataset = ArrayDataset(zeros((10, 40), (60, 0)), array(np.ones((12, 40), np.uint8), (56, 0)), ones((40, 40)))
        for batch in self.batches(5, [dataset]):
            assert batch.mask is not None
            assert batch.mask.sum() == 10 * 18

    def test_samples_with_little_annotated_are_left_out(self) -> None:
        mask = np.zeros((40, 80), dtype=np.uint8)
        mask[:, 60:] = 1
        data = np.zeros((40, 80), dtype=np.float32)
        dataset = ArrayDataset(array(data), array(data.astype(np.uint8)), array(mask))
        means = [batch.mask.mean() for batch in self.batches(30, [dataset], min_masked=0.5) if batch.mask is not None]
        assert min(means) >= 0.5
        assert len(set(means)) > 3
        assert min(b.mask.mean() for b in self.batches(30, [dataset]) if b.mask is not None) == 0

    def test_every_value_of_a_mask_but_0_means_annotated(self) -> None:
        for value in (-1, np.nan, 0.5):
            mask = np.zeros((40, 80))
            mask[:, 40:] = value
            dataset = ArrayDataset(array(np.zeros(mask.shape, np.float32)), zeros(mask.shape), array(mask))
            for batch in self.batches(4, [dataset], min_masked=0.5):
                assert batch.mask is not None
                assert (batch.mask != 0).mean() >= 0.5
                np.testing.assert_array_equal(batch.weight[:, 0] > 0, batch.mask != 0)

    def test_datasets_are_chosen_by_weight(self) -> None:
        datasets = []
        for value, weight in ((0, 1), (1, 3), (2, 0)):
            data = np.full((20, 20), value)
            datasets.append(ArrayDataset(array(data.astype(np.float32)), array(data), weight=weight, name=str(value)))
        chosen = [int(batch.raw.max()) for batch in self.batches(150, datasets)]
        assert np.mean(chosen) == pytest.approx(0.75, abs=0.08)
        assert max(chosen) == 1

    def test_samples_are_centred_on_sample_points(self) -> None:
        points = [Coordinate(40, 60), Coordinate(100, 100)]
        dataset = coded_dataset(sample_points=points)
        centers = {int(batch.gt[0, 9, 9]) for batch in self.batches(20, [dataset]) if batch.gt is not None}
        assert centers == {10 * 40 + 15, 25 * 40 + 25}

    def test_augmentations_change_raw_data_ground_truth_and_mask_alike(self) -> None:
        data = coded((60, 60))
        dataset = ArrayDataset(array(data.astype(np.float32)), array(data), array((data % 3 > 0).astype(np.uint8)))
        augments = [ElasticAugmentConfig([10, 10], [1.5, 1.5], (0.0, 3.0)), SimpleAugmentConfig()]
        for batch in self.batches(10, [dataset], augments=augments):
            assert batch.gt is not None
            assert batch.mask is not None
            inside = (batch.gt > 0)[0]
            labels = batch.gt[0][inside]
            np.testing.assert_array_equal(batch.mask[0][inside], labels % 3 > 0)
            # Raw data is interpolated between voxels: rows differ by 60, columns by 1.
            difference = np.abs(batch.raw[0, 0, 1:-1, 1:-1][inside] - labels)
            # Where raw data is mirrored the neighbor differs, so leave out the border of the volume.
            border = (labels // 60 < 2) | (labels // 60 > 57) | (labels % 60 < 2) | (labels % 60 > 57)
            assert difference[~border].max() <= 31
            assert inside.mean() > 0.3

    def test_three_dimensions_channels_and_anisotropic_voxels(self) -> None:
        voxel_size = (8, 4, 4)
        raw = np.random.default_rng(0).random((2, 24, 24, 24)).astype(np.float32)
        labels = (raw[0] * 5).astype(np.uint8)
        dataset = ArrayDataset(array(raw, (0, 0, 0), voxel_size), array(labels, (0, 0, 0), voxel_size))
        task = AffinitiesTask(AffinitiesTaskConfig("task", [Coordinate(1, 0, 0), Coordinate(0, 0, -2)]))
        trainer = self.trainer(
            batch_size=2,
            augments=[
                ElasticAugmentConfig([5, 10, 10], [0.5, 1.0, 1.0], (0.0, 1.0), 2, uniform_3d_rotation=True),
                SimpleAugmentConfig(),
            ],
        )
        model = task.create_model(TinyNet((12, 16, 16), channels=2))
        optimizer = trainer.create_optimizer(model)
        trainer.build_batch_provider([dataset], model, task)
        with trainer:
            stats = list(trainer.iterate(3, model, optimizer, CPU))
        assert all(np.isfinite(s.loss) for s in stats)

    def test_batches_do_not_depend_on_the_number_of_processes(self) -> None:
        one, two = (self.batches(4, [coded_dataset()], num_data_fetchers=n) for n in (1, 2))
        for a, b in zip(one, two, strict=True):
            assert a.iteration == b.iteration
            np.testing.assert_array_equal(a.raw, b.raw)

    def test_next_batch_is_the_same_until_the_iteration_advances(self) -> None:
        task = dummy_task()
        trainer = self.trainer()
        trainer.build_batch_provider([coded_dataset()], task.create_model(TinyNet()), task)
        with trainer:
            first, again = trainer.next_batch(), trainer.next_batch()
            np.testing.assert_array_equal(first.raw, again.raw)
            trainer.iteration = 5
            assert trainer.next_batch().iteration == 5

    @pytest.mark.parametrize("fetchers", [1, 2])
    def test_next_gives_the_arrays_of_one_batch_after_another(self, fetchers: int) -> None:
        task = affinities()
        labels = np.random.default_rng(0).integers(0, 4, (40, 40)).astype(np.uint8)
        raw = np.random.default_rng(1).random((3, 40, 40)).astype(np.float32)
        mask = (labels > 1).astype(np.uint8)
        model = task.create_model(TinyNet(channels=3))
        given = []
        for masked in (mask, None):
            dataset = ArrayDataset(array(raw), array(labels), None if masked is None else array(masked))
            trainer = self.trainer(batch_size=2, accumulate=2, num_data_fetchers=fetchers)
            trainer.build_batch_provider([dataset], model, task)
            with trainer:
                expected = [batch for batch, _ in zip(trainer, range(4), strict=False)]
                trainer.iteration = 0
                trainer.load_state_dict({"moving_class_counts": [None]})
                given = [trainer.next() for _ in range(4)]
                assert trainer.iteration == 2
                optimizer = trainer.create_optimizer(model)
                assert [stats.iteration for stats in trainer.iterate(2, model, optimizer, CPU)] == [2, 3]
            for arrays, batch in zip(given, expected, strict=True):
                assert len(arrays) == 5
                for got, name in zip(arrays[:4:2], ("raw", "target"), strict=True):
                    np.testing.assert_array_equal(got[got.roi], getattr(batch, name))
                raw_array, gt, target, weight, given_mask = arrays
                np.testing.assert_array_equal(weight[weight.roi], batch.weight)
                assert raw_array.axes == target.axes == weight.axes == ["b", "c", "y", "x"]
                assert gt.axes == ["b", "y", "x"]
                assert raw_array.voxel_size == gt.voxel_size == VOXEL
                assert raw_array.roi.contains(gt.roi)
                assert gt.roi == target.roi == weight.roi
                if masked is None:
                    assert given_mask is None
                else:
                    assert given_mask is not None
                    np.testing.assert_array_equal(given_mask[gt.roi], gt[gt.roi] > 1)

    def test_affinities_at_the_border_see_the_neighbors_outside(self) -> None:
        labels = np.ones((60, 60), dtype=np.uint8)
        dataset = ArrayDataset(array(labels.astype(np.float32)), array(labels))
        (batch,) = self.batches(1, [dataset], affinities().create_model(TinyNet()), affinities())
        assert batch.target.all()

    def test_data_on_disk_is_read_by_several_processes(self, tmp_path: Path) -> None:
        arrays = []
        for name, data in (("raw", coded((40, 40)).astype(np.float32)), ("gt", coded((40, 40)))):
            identifier = LocalArrayIdentifier(tmp_path / "data.zarr", name)
            roi = Roi((8, 8), (160, 160))
            created = ZarrArray.create_from_array_identifier(identifier, ["y", "x"], roi, None, VOXEL, data.dtype)
            created[created.roi] = data
            arrays.append(created)
        for batch in self.batches(4, [ArrayDataset(*arrays)], num_data_fetchers=2):
            assert batch.gt is not None
            np.testing.assert_array_equal(batch.raw[0, 0, 1:-1, 1:-1], batch.gt[0])

    def test_all_batches_of_an_iteration_come_in_turn(self) -> None:
        got = [(batch.iteration, batch.part) for batch in self.batches(5, [coded_dataset()], accumulate=2)]
        assert got == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]

    def test_samples_of_an_iteration_do_not_depend_on_how_they_are_put_together(self) -> None:
        (large,) = self.batches(1, [coded_dataset()], batch_size=4)
        small = self.batches(2, [coded_dataset()], batch_size=2, accumulate=2)
        np.testing.assert_array_equal(np.concatenate([batch.raw for batch in small]), large.raw)
        assert len({sample.tobytes() for sample in large.raw}) == 4
        numbered = [
            seed
            for part in range(2)
            for rank in range(3)
            for seed in BatchSampler(5, 2, accumulate=2, rank=rank, world_size=3).seeds(7 * 2 + part)
        ]
        assert numbered == BatchSampler(5, 12).seeds(7)
        assert len(set(numbered)) == 12

    # --- refused before training ---

    @pytest.mark.parametrize(
        ("dataset", "error", "message"),
        [
            (ArrayDataset(zeros(), None), ConfigError, "no ground truth"),
            (ArrayDataset(zeros((3, 40, 40)), zeros()), ChannelMismatchError, "3 channels, the network takes 1"),
            (ArrayDataset(zeros((9, 9, 9), (0,) * 3, (4,) * 3), zeros()), ConfigError, "3 spatial axes"),
            (
                ArrayDataset(zeros(), zeros(voxel_size=(8, 8))),
                ConfigError,
                r"\(8, 8\).*predicts voxels of \(4, 4\)",
            ),
            (ArrayDataset(zeros(), zeros(), zeros(voxel_size=(2, 2))), ConfigError, "the mask .* voxel size"),
            (ArrayDataset(zeros(), array(np.zeros((40, 40)))), DtypeError, "float64"),
            (ArrayDataset(zeros(), zeros(offset=(2, 0))), ConfigError, "line up"),
            (ArrayDataset(zeros(), zeros(offset=(400, 0))), RoiError, "no raw data"),
            (ArrayDataset(zeros(), zeros(), zeros(offset=(400, 0))), RoiError, "mask"),
            (ArrayDataset(zeros(), zeros((4, 18))), InputTooSmallError, "min_masked"),
            (ArrayDataset(zeros(), zeros(), sample_points=[Coordinate(0, 200)]), ConfigError, "sample points"),
            (ArrayDataset(zeros(), zeros(), weight=0), ConfigError, "weights"),
        ],
    )
    def test_datasets_that_do_not_fit_are_refused_before_training(
        self, dataset: Dataset, error: Any, message: str
    ) -> None:
        with pytest.raises(error, match=message):
            self.build(dataset, min_masked=0.5)

    def test_datasets_of_different_voxel_size_are_refused(self) -> None:
        other = ArrayDataset(zeros(voxel_size=(8, 8)), zeros(voxel_size=(8, 8)), name="other")
        with pytest.raises(ConfigError, match="other"):
            self.build(ArrayDataset(zeros(), zeros()), other)

    def test_no_datasets_are_refused(self) -> None:
        with pytest.raises(ConfigError, match="no datasets"):
            self.build()

    def test_can_train_needs_ground_truth_everywhere(self) -> None:
        trainer = self.trainer()
        assert trainer.can_train([coded_dataset()])
        assert not trainer.can_train([coded_dataset(), ArrayDataset(zeros(), None)])
        assert not trainer.can_train([])

    @pytest.mark.parametrize(
        ("augment", "message"),
        [
            (SimpleAugmentConfig(mirror_probs=[0.5]), r"mirror_probs is \[0\.5\], but the samples have 2 spatial axes"),
            (SimpleAugmentConfig(mirror_probs=[0.5, 0, 1]), r"mirror_probs is \[0\.5, 0, 1\], but the samples have 2"),
            (SimpleAugmentConfig(mirror_only=[1, 2]), r"mirror_only is \[1, 2\], .* name some of \[0, 1\]"),
            (SimpleAugmentConfig(transpose_only=[2]), r"transpose_only is \[2\], but the samples have 2 spatial axes"),
        ],
    )
    def test_augmentations_of_other_axes_are_refused_before_training(
        self, augment: SimpleAugmentConfig, message: str
    ) -> None:
        with pytest.raises(ConfigError, match=f"SimpleAugmentConfig: {message}"):
            self.build(coded_dataset(), augments=[augment])

    def test_augmentations_of_the_axes_of_samples_are_fine(self) -> None:
        self.build(
            coded_dataset(), augments=[SimpleAugmentConfig([0, 1], [1, 0], [0.5, 1.0]), SimpleAugmentConfig([], [])]
        )

    def test_volumes_smaller_than_the_input_are_trained_on_as_far_as_annotated(self) -> None:
        self.build(ArrayDataset(zeros((16, 16)), zeros((16, 16))), min_masked=0.5)
