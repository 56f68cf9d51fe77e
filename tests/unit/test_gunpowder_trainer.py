"""The gunpowder trainer on small arrays in memory and on disk."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch

from dacapo.errors import (
    BatchError,
)
from dacapo.experiments.datasplits.datasets.arrays import (
    IntensitiesArray,
    IntensitiesArrayConfig,
    ZarrArray,
    ZarrArrayConfig,
)
from dacapo.experiments.trainers import (
    GunpowderTrainer,
    GunpowderTrainerConfig,
    TorchTrainer,
    TorchTrainerConfig,
    TrainerConfig,
)
from dacapo.experiments.trainers.weighting import TrainingBatch
from tests.helpers.batch_contract import BatchContract
from tests.helpers.batch_training_contract import (
    BatchTrainingContract,
    ManyFetchersContract,
    TrainingOptionsContract,
    assert_same_training,
)
from tests.helpers.datasets import ArrayDataset, coded, coded_dataset
from tests.helpers.networks import TinyNet, dummy_task


class TestGunpowderTrainer(BatchTrainingContract):
    config_type = GunpowderTrainerConfig


class TestGunpowderTrainerWithProcesses(TestGunpowderTrainer, ManyFetchersContract):
    pass


class TestAccumulatedInHalfPrecision(TestGunpowderTrainer):
    fetchers = 2

    def config(self) -> TrainerConfig:
        return attrs.evolve(super().config(), accumulate=3, precision="float16", clip_gradients=0.1)


@pytest.mark.parametrize("trainer_type", [GunpowderTrainer, TorchTrainer])
@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Caught RuntimeError in DataLoader worker process 0.\nno such chunk"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        OSError("the disk is gone"),
    ],
)
def test_whatever_keeps_a_batch_from_being_made_says_for_which_iteration(
    trainer_type: Any, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: Any) -> Iterator[TrainingBatch]:
        raise error
        yield

    config_type = GunpowderTrainerConfig if trainer_type is GunpowderTrainer else TorchTrainerConfig
    trainer = trainer_type(config_type("trainer", 1, 1e-3, 2))
    monkeypatch.setattr("dacapo.experiments.trainers.loader.load_batches", fails)
    trainer.build_batch_provider([coded_dataset()], dummy_task().create_model(TinyNet()), dummy_task())
    with trainer, pytest.raises(BatchError, match="no batch for iteration 0") as caught:
        next(iter(trainer))
    assert str(error).rstrip(". ") in str(caught.value)
    assert "died" not in str(caught.value)
    assert caught.value.__cause__ is error


class TestGunpowderBatches(BatchContract):
    config_type = GunpowderTrainerConfig

    @pytest.mark.parametrize("room", [True, False])
    def test_batches_of_other_processes_are_arrays_with_and_without_shared_memory(
        self, room: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not room:
            free = shutil.disk_usage("/")._replace(free=100)
            monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
        one, two = (self.batches(3, [coded_dataset()], num_data_fetchers=n) for n in (1, 2))
        for a, b in zip(one, two, strict=True):
            for name in ("raw", "target", "weight"):
                assert isinstance(getattr(b, name), np.ndarray)
                np.testing.assert_array_equal(getattr(a, name), getattr(b, name))

    def test_signals_to_the_group_of_the_training_do_not_reach_processes_that_make_batches(self) -> None:
        task = dummy_task()
        trainer = self.trainer(num_data_fetchers=2)
        trainer.build_batch_provider([coded_dataset()], task.create_model(TinyNet()), task)
        before = set(multiprocessing.active_children())
        with trainer:
            list(zip(trainer, range(2), strict=False))  # one batch of each
            makers = [process.pid for process in set(multiprocessing.active_children()) - before if process.pid]
            assert len(makers) == 2
            assert all(os.getpgid(pid) != os.getpgid(0) for pid in makers)

    def test_data_that_forked_processes_cannot_read_is_read_by_others(self, tmp_path: Path) -> None:
        import tensorstore

        # N5 is read by TensorStore. It must have been used here before, else a forked process would manage.
        arrays = []
        for name, data in (("raw", coded((40, 40)).astype(np.float32)), ("gt", coded((40, 40)).astype(np.uint64))):
            metadata = {"dimensions": [40, 40], "blockSize": [16, 16], "dataType": str(data.dtype)}
            path = tmp_path / "data.n5" / name
            spec = {"driver": "n5", "kvstore": {"driver": "file", "path": f"{path}/"}, "metadata": metadata}
            tensorstore.open(spec, create=True).result()[...] = data.T
            attributes = {"resolution": [4, 4], "offset": [8, 8], "axes": ["x", "y"], "units": ["nm", "nm"]}
            stored = json.loads((path / "attributes.json").read_text())
            (path / "attributes.json").write_text(json.dumps({**stored, **attributes}))
            arrays.append(ZarrArray(ZarrArrayConfig(name, tmp_path / "data.n5", name, mode="r")))
            np.testing.assert_array_equal(arrays[-1][arrays[-1].roi], data)
        changed = IntensitiesArray(IntensitiesArrayConfig("scaled", arrays[0].config, 0.0, 1.0))
        for batch in self.batches(2, [ArrayDataset(changed, arrays[1])], num_data_fetchers=2):
            assert batch.gt is not None
            np.testing.assert_array_equal(batch.raw[0, 0, 1:-1, 1:-1], batch.gt[0])


class TestGunpowderOptions(TrainingOptionsContract):
    config_type = GunpowderTrainerConfig

    @pytest.mark.slow
    @pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
    def test_compiled_networks_train_alike(self) -> None:
        compiled = self.trained(compile=True)
        assert_same_training(compiled, self.trained())
        assert not any("_orig_mod" in name for name in compiled[1].state_dict())
