"""What holds for the training of every trainer that samples arrays."""

from __future__ import annotations

import io
import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from funlib.geometry import Coordinate

from dacapo.errors import (
    TrainingError,
)
from dacapo.experiments.datasplits.datasets import Dataset
from dacapo.experiments.datasplits.datasets.arrays import (
    ZarrArray,
)
from dacapo.experiments.model import Model
from dacapo.experiments.tasks import (
    DistanceTask,
    DistanceTaskConfig,
    Task,
)
from dacapo.experiments.trainers import (
    ElasticAugmentConfig,
    GammaAugmentConfig,
    IntensityAugmentConfig,
    SimpleAugmentConfig,
)
from dacapo.store.array_store import LocalContainerIdentifier
from dacapo.testing.trainer import CPU, TrainerContract
from tests.helpers.batch_trainers import BatchTrainers
from tests.helpers.datasets import VOXEL, ArrayDataset, DamagedArray, array, blobs, coded_dataset
from tests.helpers.networks import ConvNet, TinyNet, affinities, classes, dummy_task


class BatchTrainingContract(BatchTrainers, TrainerContract):
    """What every trainer must do, and the schedule of its learning rate; subclass it with the class of its config."""

    fetchers = 1

    def config(self, **changes: Any) -> Any:
        settings: dict[str, Any] = {
            "batch_size": 2,
            "num_data_fetchers": self.fetchers,
            "min_masked": 0.3,
            "warmup_iterations": 4,
            "decay_iterations": 10,
            "augments": [
                ElasticAugmentConfig([5, 5], [0.5, 0.5], (0.0, 1.5)),
                GammaAugmentConfig((0.5, 2.0)),
                IntensityAugmentConfig((0.7, 1.3), (-0.2, 0.2)),
                SimpleAugmentConfig(),
            ],
        }
        return super().config(**{**settings, **changes})

    def task(self) -> Task:
        return affinities()

    def datasets(self) -> Sequence[Dataset]:
        return [blobs()]

    def model(self) -> Model:
        return self.task().create_model(TinyNet())

    def test_class_counts_of_all_batches_are_kept(self) -> None:
        trainer, model, optimizer = self.session()
        assert trainer.state_dict() == {"trainer": trainer.kind, "moving_class_counts": [None]}
        self.train(trainer, model, optimizer, 4)
        (((counts,),),) = (trainer.state_dict()["moving_class_counts"],)
        zeros, ones, total = counts.T.tolist()
        assert total == [a + b + 1 for a, b in zip(zeros, ones, strict=True)]
        assert min(total) > 2 * 3 * 18 * 18  # more than of one batch

    def test_class_counts_of_any_kind_are_stored_without_pickles(self) -> None:
        counts = [None, np.arange(4.0).reshape(2, 2), (np.float64(0.1), [3])]
        trainer, _, _ = self.session()
        trainer._class_counts = counts
        file = io.BytesIO()
        torch.save(trainer.state_dict(), file)
        file.seek(0)
        trainer, _, _ = self.session()
        trainer.load_state_dict(torch.load(file, weights_only=True))
        nothing, table, plain = trainer._class_counts
        assert (nothing, plain) == (None, (0.1, [3]))
        np.testing.assert_array_equal(table, counts[1])
        assert isinstance(table, np.ndarray)

    def test_learning_rate_follows_the_schedule_also_after_a_resume(self) -> None:
        expected = [1e-3 * factor for factor in (0.01, 0.2575, 0.505, 0.7525, 1.0)]

        def rates(trainer: Any, model: Model, optimizer: Any, count: int) -> list[float]:
            with trainer:
                return [optimizer.param_groups[0]["lr"] for _ in trainer.iterate(count, model, optimizer, CPU)]

        trainer, model, optimizer = self.session()
        assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-5)
        assert rates(trainer, model, optimizer, 3) == pytest.approx(expected[:3])
        saved = optimizer.state_dict()
        trainer, model, optimizer = self.session()
        optimizer.load_state_dict(saved)
        trainer.iteration = 3
        later = rates(trainer, model, optimizer, 10)
        assert later[:2] == pytest.approx(expected[3:])
        assert later[-2:] == pytest.approx([1e-5, 1e-5])
        assert isinstance(optimizer, torch.optim.RAdam)


class ManyFetchersContract(BatchTrainingContract):
    """The same with processes that make the batches."""

    fetchers = 2

    def test_processes_end_with_the_context(self) -> None:
        before = set(multiprocessing.active_children())
        trainer, model, optimizer = self.session()
        with trainer:
            next(iter(trainer.iterate(3, model, optimizer, CPU)))
            started = set(multiprocessing.active_children()) - before
            assert len(started) == 2
        assert not started & set(multiprocessing.active_children())

    def test_errors_of_processes_reach_the_training(self) -> None:
        trainer, model, optimizer = self.session()
        dataset = blobs()
        dataset.raw = DamagedArray(dataset.raw)
        trainer.build_batch_provider([dataset], model, self.task(), None)
        with trainer, pytest.raises(TrainingError, match=r"iteration 0 .* the disk is gone"):
            next(iter(trainer.iterate(3, model, optimizer, CPU)))


class TrainingOptionsContract(BatchTrainers):
    """What the options of a training change, and what they keep."""

    def test_mixed_precision_stays_close_and_keeps_weights_in_single_precision(self) -> None:
        losses = []
        for precision in ("float32", "bfloat16"):
            task = affinities()
            trainer = self.trainer(batch_size=2, precision=precision)
            torch.manual_seed(0)
            model = task.create_model(TinyNet())
            optimizer = trainer.create_optimizer(model)
            trainer.build_batch_provider([blobs()], model, task)
            with trainer:
                losses.append([stats.loss for stats in trainer.iterate(5, model, optimizer, CPU)])
            assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
        assert losses[0] != losses[1]
        assert losses[0] == pytest.approx(losses[1], rel=0.02)

    @pytest.mark.parametrize("fetchers", [1, 2])
    def test_accumulated_batches_are_one_large_batch(self, fetchers: int) -> None:
        large = self.trained(batch_size=6)
        assert_same_training(self.trained(batch_size=2, accumulate=3, num_data_fetchers=fetchers), large)
        assert self.trained(batch_size=2)[0] != pytest.approx(large[0], rel=1e-3)

    def test_training_lowers_the_loss(self) -> None:
        task = DistanceTask(DistanceTaskConfig("task", ["a"], clip_distance=20, tol_distance=8, scale_factor=20))
        labels = np.kron(np.random.default_rng(0).integers(0, 2, (8, 8)), np.ones((6, 6), dtype=int)).astype(np.uint8)
        trainer = self.trainer(learning_rate=0.02, warmup_iterations=0)
        torch.manual_seed(0)
        model = task.create_model(TinyNet())
        optimizer = trainer.create_optimizer(model)
        trainer.build_batch_provider([ArrayDataset(array(labels.astype(np.float32)), array(labels))], model, task)
        with trainer:
            losses = [stats.loss for stats in trainer.iterate(60, model, optimizer, CPU)]
        assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])

    def test_a_loss_that_is_not_finite_stops_before_the_weights_change(self) -> None:
        dataset = coded_dataset()
        raw = dataset.raw.data.copy()
        raw[:] = np.nan
        dataset.raw = array(raw)
        task = dummy_task()
        trainer = self.trainer()
        model = task.create_model(TinyNet())
        before = {name: value.clone() for name, value in model.state_dict().items()}
        trainer.build_batch_provider([dataset], model, task)
        trainer.iteration = 3
        with trainer, pytest.raises(TrainingError, match="iteration 3 is nan"):
            list(trainer.iterate(2, model, trainer.create_optimizer(model), CPU))
        assert trainer.iteration == 3
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())

    def test_iterating_outside_of_the_context_is_refused(self) -> None:
        task = dummy_task()
        trainer = self.trainer()
        model = task.create_model(TinyNet())
        optimizer = trainer.create_optimizer(model)
        with trainer, pytest.raises(TrainingError, match="build_batch_provider"):
            next(iter(trainer.iterate(1, model, optimizer, CPU)))
        trainer.build_batch_provider([coded_dataset()], model, task)
        with pytest.raises(TrainingError, match="with trainer"):
            next(iter(trainer.iterate(1, model, optimizer, CPU)))

    def test_building_again_and_entering_again_works(self) -> None:
        task = dummy_task()
        trainer = self.trainer()
        model = task.create_model(TinyNet())
        optimizer = trainer.create_optimizer(model)
        for value in (1, 2):
            data = np.full((20, 20), value)
            trainer.build_batch_provider([ArrayDataset(array(data.astype(np.float32)), array(data))], model, task)
            for _ in range(2):
                with trainer:
                    assert trainer.next_batch().raw.max() == value
                    assert len(list(trainer.iterate(2, model, optimizer, CPU))) == 2
                    with pytest.raises(TrainingError, match="leave"):
                        trainer.build_batch_provider([coded_dataset()], model, task)
        assert trainer.iteration == 8

    @pytest.mark.parametrize("fetchers", [1, 2])
    def test_snapshots(self, tmp_path: Path, fetchers: int) -> None:
        container = LocalContainerIdentifier(tmp_path / "snapshots.zarr")
        task = affinities()
        losses = []
        for interval in (3, None):
            trainer = self.trainer(batch_size=2, snapshot_interval=interval, num_data_fetchers=fetchers)
            torch.manual_seed(0)
            model = task.create_model(TinyNet())
            trainer.build_batch_provider([blobs()], model, task, container)
            with trainer:
                losses.append([s.loss for s in trainer.iterate(5, model, trainer.create_optimizer(model), CPU)])
        assert losses[0] == losses[1]  # looking does not change anything
        assert sorted(path.name for path in container.container.iterdir() if path.is_dir()) == ["0", "3"]
        shapes = {}
        for name in ("raw", "gt", "mask", "target", "weight", "prediction"):
            stored = ZarrArray.open_from_array_identifier(container.array_identifier(f"3/{name}"))
            shapes[name] = tuple(stored.data.shape)
            assert stored.voxel_size == VOXEL
            assert stored.roi.offset == (Coordinate(0, 0) if name == "raw" else VOXEL)
            assert stored.axes == ["b", "c", "y", "x"] if stored.data.ndim == 4 else ["b", "y", "x"]
        assert shapes["raw"] == (2, 1, 20, 20)
        assert shapes["gt"] == shapes["mask"] == (2, 18, 18)
        assert shapes["target"] == shapes["weight"] == shapes["prediction"] == (2, 3, 18, 18)

    def test_clipping_limits_the_norm_of_all_gradients(self) -> None:
        norms = {}
        for limit in (None, 1e-3, 1e6):
            _, model = self.trained(1, clip_gradients=limit)
            norms[limit] = float(torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm())
        assert norms[None] > 2e-3
        assert norms[1e-3] == pytest.approx(1e-3, rel=1e-3)
        assert norms[1e6] == norms[None]

    def test_averaged_weights_are_those_of_the_formula_and_training_is_as_without(self) -> None:
        losses, weights = [], []
        for decay in (None, 0.6):
            task = classes()
            trainer = self.trainer(warmup_iterations=0, ema_decay=decay, num_data_fetchers=1)
            torch.manual_seed(0)
            model = task.create_model(ConvNet())
            trainer.build_batch_provider([blobs()], model, task)
            held = [copied(model)]
            with trainer:
                for stats in trainer.iterate(8, model, trainer.create_optimizer(model), CPU):
                    losses.append(stats.loss)
                    held.append(copied(model))
            weights.append((held, copied(model)))
        assert losses[:8] == losses[8:]
        (plain, _), (trained, averaged) = weights
        for name, value in plain[0].items():
            mean = value.double()
            for number, (one, other) in enumerate(zip(plain[1:], trained[1:], strict=True), 1):
                assert torch.equal(one[name], other[name])
                decay = min(0.6, number / (number + 9))
                mean = decay * mean + (1 - decay) * one[name]
            torch.testing.assert_close(averaged[name], mean.float(), rtol=1e-6, atol=1e-7)
            assert not torch.equal(averaged[name], plain[-1][name])

    @pytest.mark.parametrize("showing_at", [None, 2])
    def test_an_averaged_training_resumes_to_the_last_bit(self, showing_at: int | None) -> None:
        def session() -> tuple[Any, Model, torch.optim.Optimizer]:
            trainer = self.trainer(warmup_iterations=2, ema_decay=0.5, num_data_fetchers=1)
            torch.manual_seed(0)
            task = classes()
            model = task.create_model(TinyNet())
            trainer.build_batch_provider([blobs()], model, task)
            return trainer, model, trainer.create_optimizer(model)

        whole, first, second = session(), session(), session()
        losses = []
        with whole[0]:
            for stats in whole[0].iterate(6, *whole[1:], CPU):
                losses.append(stats.loss)
                if stats.iteration == showing_at:
                    whole[0].use_average(whole[1])  # as a validation or a checkpoint between two iterations does
        with first[0]:
            list(first[0].iterate(3, *first[1:], CPU))
        second[1].load_state_dict(first[1].state_dict())
        second[2].load_state_dict(first[2].state_dict())
        second[0].load_state_dict(first[0].state_dict())
        second[0].iteration = 3
        with second[0]:
            assert [stats.loss for stats in second[0].iterate(3, *second[1:], CPU)] == losses[3:]
        assert all(torch.equal(value, second[1].state_dict()[name]) for name, value in whole[1].state_dict().items())
        kept = [trainer.state_dict()["weight_average"] for trainer in (whole[0], second[0])]
        assert kept[0]["updates"] == kept[1]["updates"] == 6
        assert all(torch.equal(value, kept[1]["kept"][name]) for name, value in kept[0]["kept"].items())

    def test_an_average_that_is_given_up_leaves_the_trained_weights(self) -> None:
        task = classes()
        torch.manual_seed(0)
        trainer, model = self.trainer(ema_decay=0.5), task.create_model(ConvNet())
        trainer.build_batch_provider([blobs()], model, task)
        optimizer = trainer.create_optimizer(model)
        with trainer:
            list(trainer.iterate(2, model, optimizer, CPU))
            trained = copied(model)
            trainer.use_average(model)
        other = self.trainer(learning_rate=1e-12)
        other.build_batch_provider([blobs()], model, task)
        other.load_state_dict(trainer.state_dict())
        with other:
            list(other.iterate(1, model, other.create_optimizer(model), CPU))
        for name, value in model.state_dict().items():
            torch.testing.assert_close(value, trained[name], rtol=1e-6, atol=1e-8)
        assert "weight_average" not in other.state_dict()

    @pytest.mark.parametrize("task", [affinities, classes])
    def test_channels_last_gives_the_same(self, task: Any) -> None:
        plain, changed = self.trained(task=task()), self.trained(task=task(), channels_last=True)
        assert_same_training(changed, plain)
        for (_, model), together in ((plain, False), (changed, True)):
            weight = model.get_parameter("architecture.second.weight")
            assert weight.is_contiguous(memory_format=torch.channels_last) is together

    def test_half_precision_scales_gradients_and_is_close(self) -> None:
        assert_same_training(self.trained(precision="float16"), self.trained(), rtol=0.05)

    def test_gradients_that_overflow_are_left_out_and_scaled_less(self) -> None:
        task = dummy_task()
        trainer = self.trainer(precision="float16")
        model = task.create_model(ConvNet())
        optimizer = trainer.create_optimizer(model)
        trainer.build_batch_provider([coded_dataset(20)], model, task)
        trainer.load_state_dict({"moving_class_counts": [None], "grad_scaler": scaler_state(2.0**120)})
        before = [parameter.detach().clone() for parameter in model.parameters()]
        with trainer:
            list(trainer.iterate(1, model, optimizer, CPU))
            assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
            assert trainer.state_dict()["grad_scaler"]["scale"] == 2.0**119
            assert trainer.iteration == 1


def assert_same_training(one: tuple[list[float], Model], other: tuple[list[float], Model], rtol: float = 1e-4) -> None:
    assert one[0] == pytest.approx(other[0], rel=rtol)
    for (name, value), expected in zip(one[1].state_dict().items(), other[1].state_dict().values(), strict=True):
        torch.testing.assert_close(value, expected, rtol=rtol, atol=1e-5, msg=name)


def copied(model: Model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def scaler_state(scale: float) -> dict[str, Any]:
    return {**torch.amp.GradScaler("cpu").state_dict(), "scale": scale}
