"""The contract of a weights store, as a test suite.

Subclass :class:`WeightsStoreContract` and give it an empty store, and a second one on the same data::

    class TestMyWeightsStore(WeightsStoreContract):
        @pytest.fixture
        def store(self, tmp_path):
            return MyWeightsStore(tmp_path)

        @pytest.fixture
        def reopened(self, tmp_path):
            return MyWeightsStore(tmp_path)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from dacapo.errors import ConfigError, NotFoundError
from dacapo.experiments.architectures import DummyArchitectureConfig
from dacapo.experiments.datasplits import DummyDataSplitConfig
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.experiments.tasks import DummyTaskConfig
from dacapo.experiments.trainers import DummyTrainer, DummyTrainerConfig
from dacapo.store.weights_store import Weights, WeightsStore


class RememberingTrainer(DummyTrainer):
    """A trainer with a state of its own."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.state: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = state


def remembering(run: Run) -> RememberingTrainer:
    """Return the trainer of a run of :func:`make_run`."""
    assert isinstance(run.trainer, RememberingTrainer)
    return run.trainer


def make_run(name: str = "run", channels: int = 4, embedding: int = 3) -> Run:
    """Return a small run whose trainer remembers what it is given."""
    config = RunConfig(
        name=name,
        repetition=0,
        task_config=DummyTaskConfig(name="task", embedding_dims=embedding, detection_threshold=0.5),
        architecture_config=DummyArchitectureConfig(name="body", num_in_channels=1, num_out_channels=channels),
        trainer_config=DummyTrainerConfig(name="trainer", batch_size=1, learning_rate=1e-3, mirror_augment=False),
        datasplit_config=DummyDataSplitConfig(name="data"),
        num_iterations=10,
    )
    run = Run(config)
    run.trainer = RememberingTrainer(config.trainer_config)
    return run


def train(run: Run, steps: int = 1) -> None:
    """Step the optimizer, so that it has a state."""
    for _ in range(steps):
        run.optimizer.zero_grad()
        run.model(torch.rand(1, 1, *run.model.input_shape)).square().mean().backward()
        run.optimizer.step()


def assert_same(one: Any, other: Any) -> None:
    """Compare nested states exactly."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert one == other


class WeightsStoreContract:
    """Laws of checkpoints, and of the best of them."""

    @pytest.fixture
    def store(self) -> WeightsStore:
        """Return an empty store."""
        raise NotImplementedError

    @pytest.fixture
    def reopened(self) -> WeightsStore:
        """Return a second store on the same data, as another process would open it."""
        raise NotImplementedError

    def test_nothing_is_stored_at_first(self, store: WeightsStore) -> None:
        assert store.latest_iteration("run") is None
        assert store.best_datasets("run", "voi") == []
        with pytest.raises(NotFoundError, match=r"'run'.*100"):
            store.retrieve_weights("run", 100)
        with pytest.raises(NotFoundError, match=r"'run'.*'val'.*'voi'"):
            store.retrieve_best("run", "val", "voi")
        with pytest.raises(NotFoundError, match=r"'run'.*'val'.*'voi'"):
            store.retrieve_best_weights("run", "val", "voi")
        with pytest.raises(NotFoundError):
            store.remove("run", 100)
        with pytest.raises(NotFoundError):
            store.store_best("run", 100, "val", "voi")

    def test_a_checkpoint_restores_everything(self, store: WeightsStore, reopened: WeightsStore) -> None:
        run = make_run()
        train(run, 2)
        remembering(run).state = {
            "count": 7,
            "scheduler": {"factor": 0.5, "steps": [1, 2]},
            "random": torch.get_rng_state(),
        }
        store.store_weights(run, 2)
        other = make_run()
        train(other)
        for name, tensor in other.model.state_dict().items():
            assert not torch.equal(tensor, run.model.state_dict()[name])
        reopened.load_weights(other, 2)
        assert_same(run.model.state_dict(), other.model.state_dict())
        assert_same(run.optimizer.state_dict(), other.optimizer.state_dict())
        assert_same(remembering(run).state, remembering(other).state)

    def test_prediction_loads_the_model_only(self, store: WeightsStore, reopened: WeightsStore) -> None:
        run = make_run()
        train(run, 2)
        remembering(run).state = {"count": 7}
        store.store_weights(run, 2)
        other = make_run()
        before = other.optimizer.state_dict()
        reopened.load_model(other, 2)
        assert_same(run.model.state_dict(), other.model.state_dict())
        assert_same(before, other.optimizer.state_dict())
        assert remembering(other).state == {}
        with pytest.raises(NotFoundError, match=r"'run'.*3"):
            reopened.load_model(other, 3)
        with pytest.raises(ConfigError, match=r"'run', iteration 2.*of different shape: architecture.conv.weight"):
            reopened.retrieve_model("run", 2).put_into_model(make_run(channels=5))

    def test_going_on_from_a_checkpoint_is_the_same_as_not_stopping(self, store: WeightsStore) -> None:
        run = make_run()
        train(run)
        store.store_weights(run, 1)
        torch.manual_seed(5)
        train(run, 2)
        resumed = make_run()
        store.load_weights(resumed, 1)
        torch.manual_seed(5)
        train(resumed, 2)
        assert_same(run.model.state_dict(), resumed.model.state_dict())

    def test_the_latest_is_the_highest_number(self, store: WeightsStore) -> None:
        run = make_run()
        for iteration in (9, 100, 20):
            store.store_weights(run, iteration)
        assert store.latest_iteration(run) == 100
        assert store.latest_iteration(run.name) == 100
        assert store.latest_iteration("other") is None
        store.remove(run, 100)
        assert store.latest_iteration("run") == 20
        with pytest.raises(NotFoundError, match=r"100.*9, 20"):
            store.retrieve_weights(run, 100)

    def test_storing_again_replaces(self, store: WeightsStore) -> None:
        run = make_run()
        store.store_weights(run, 1)
        train(run)
        store.store_weights(run, 1)
        assert_same(dict(store.retrieve_weights("run", 1).model), dict(run.model.state_dict()))

    def test_the_best_is_found_where_it_was_stored(self, store: WeightsStore, reopened: WeightsStore) -> None:
        run = make_run()
        store.store_weights(run, 1)
        first = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
        train(run)
        store.store_weights(run, 2)
        store.store_best("run", 1, "val", "voi")
        store.store_best(run, 2, "val", "voi_split")
        assert_same(dict(reopened.retrieve_best_weights("run", "val", "voi").model), first)
        assert reopened.retrieve_best_weights("run", "val", "voi_split").iteration == 2
        assert (reopened.retrieve_best("run", "val", "voi"), store.retrieve_best(run, "val", "voi_split")) == (1, 2)
        other = make_run()
        train(other, 3)
        reopened.load_best(other, "val", "voi")
        assert_same(dict(other.model.state_dict()), first)
        for retrieve in (store.retrieve_best, store.retrieve_best_weights):
            with pytest.raises(NotFoundError):
                retrieve("run", "voi", "other")

    def test_a_better_one_replaces_the_best(self, store: WeightsStore) -> None:
        run = make_run()
        for iteration in (1, 2):
            train(run)
            store.store_weights(run, iteration)
            store.store_best("run", iteration, "val", "voi")
            assert store.retrieve_best("run", "val", "voi") == iteration
        # And the same one again.
        store.store_best("run", 2, "val", "voi")
        assert_same(dict(store.retrieve_best_weights("run", "val", "voi").model), dict(run.model.state_dict()))

    def test_the_best_outlives_its_checkpoint(self, store: WeightsStore) -> None:
        run = make_run()
        store.store_weights(run, 1)
        store.store_best("run", 1, "val", "voi")
        store.remove("run", 1)
        assert store.latest_iteration("run") is None
        assert store.retrieve_best("run", "val", "voi") == 1
        assert_same(dict(store.retrieve_best_weights("run", "val", "voi").model), dict(run.model.state_dict()))
        # Nor does writing the iteration anew change it.
        train(run)
        store.store_weights(run, 1)
        best = store.retrieve_best_weights("run", "val", "voi").model
        assert not torch.equal(best["prediction_head.weight"], run.model.state_dict()["prediction_head.weight"])

    def test_weights_of_another_model_are_refused_and_change_nothing(self, store: WeightsStore) -> None:
        store.store_weights(make_run(channels=4), 1)
        other = make_run(channels=5)
        before = {name: tensor.clone() for name, tensor in other.model.state_dict().items()}
        with pytest.raises(ConfigError, match="run 'run'"):
            store.load_weights(other, 1)
        with pytest.raises(ConfigError, match=r"'run', iteration 1.*of different shape: architecture.conv.weight"):
            store.retrieve_weights("run", 1).put_into(other)
        assert_same(dict(other.model.state_dict()), before)

    def test_numpy_numbers_in_a_state_become_plain(self, store: WeightsStore) -> None:
        run = make_run()
        remembering(run).state = {"rate": np.float64(0.25), "step": np.int64(3), "pair": (np.float32(0.5), True, None)}
        store.store_weights(run, 1)
        state = store.retrieve_weights("run", 1).trainer
        assert state == {"rate": 0.25, "step": 3, "pair": (0.5, True, None)}
        assert type(state["rate"]) is float

    def test_what_could_not_be_read_back_is_not_written(self, store: WeightsStore) -> None:
        run = make_run()
        remembering(run).state = {"scheduler": {"rule": lambda step: step}}
        with pytest.raises(ConfigError, match=r"trainer\.scheduler\.rule is a function"):
            store.store_weights(run, 1)
        assert store.latest_iteration("run") is None

    def test_tensors_come_to_the_cpu(self, store: WeightsStore) -> None:
        store.store_weights(make_run(), 1)
        weights = store.retrieve_weights("run", 1)
        assert isinstance(weights, Weights)
        assert {tensor.device.type for tensor in weights.model.values()} == {"cpu"}
