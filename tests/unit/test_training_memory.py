"""Training within a budget of memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dacapo.errors import ConfigError, MemoryBudgetError
from dacapo.experiments.run import Run
from dacapo.experiments.trainers import DummyTrainer, DummyTrainerConfig
from dacapo.experiments.trainers import training_memory as training_memory_module
from dacapo.experiments.trainers.training_memory import check_memory, least_memory, train_within, training_memory
from dacapo.utils import memory_estimates
from dacapo.utils.memory import parse_size
from tests.helpers.memory import training_run


def test_batches_become_smaller_and_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Other tests leave memory that the system takes back at any time.
    monkeypatch.setattr(memory_estimates, "process_memory", lambda: 2**30)
    run = training_run(tmp_path, batch_size=6, accumulate=2)
    whole = training_memory(run.trainer, run.model, 6, 2)
    third = training_memory(run.trainer, run.model, 2, 6)
    assert third.network < whole.network

    assert train_within(run.trainer, run.model, int(whole.total * 1.1)).batch_size == 6
    assert (run.trainer.batch_size, run.trainer.accumulate) == (6, 2)

    small = train_within(run.trainer, run.model, (third.total + whole.total) // 2)
    assert small.batch_size in (2, 3, 4)
    assert small.batch_size * small.accumulate == 12
    assert (run.trainer.batch_size, run.trainer.accumulate) == (small.batch_size, small.accumulate)


def test_too_small_a_budget_says_what_would_do(tmp_path: Path) -> None:
    run = training_run(tmp_path)
    with pytest.raises(MemoryBudgetError, match=r"6 x 1 samples .* allow "):
        train_within(run.trainer, run.model, "100MB")
    assert run.trainer.batch_size == 6


def test_a_trainer_without_batches(tmp_path: Path) -> None:
    trainer = DummyTrainer(DummyTrainerConfig(name="dummy", batch_size=1, learning_rate=1e-3, mirror_augment=False))
    with pytest.raises(ConfigError, match="DummyTrainer has no batches"):
        train_within(trainer, training_run(tmp_path).model, "8GB")


CPU = torch.device("cpu")


class TestWithoutALimit:
    @pytest.fixture
    def run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
        monkeypatch.setattr(training_memory_module, "process_memory", lambda: 2**30)
        return training_run(tmp_path)

    def check(self, run: Run, monkeypatch: pytest.MonkeyPatch, free: int | None, device: torch.device = CPU) -> None:
        monkeypatch.setattr(training_memory_module, "free_memory", lambda: free)
        check_memory(run.trainer, run.model, run.optimizer, device)

    def needed(self, run: Run, device: torch.device = CPU) -> int:
        """Return what the training takes in addition to what the process holds."""
        return least_memory(run.trainer, run.model, run.optimizer, device).total - 2**30

    def test_what_cannot_fit_is_refused(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        needed = self.needed(run)
        self.check(run, monkeypatch, needed)
        self.check(run, monkeypatch, None)
        with pytest.raises(MemoryBudgetError, match=r"1 x 6 samples .* at the least, but only .* a smaller batch_size"):
            self.check(run, monkeypatch, needed - 1)
        self.check(run, monkeypatch, 0, torch.device("cuda"))  # what lies there is not in main memory

    def test_ranks_of_one_machine_share_its_memory(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        needed = self.needed(run)
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
        self.check(run, monkeypatch, 2 * needed)
        with pytest.raises(MemoryBudgetError):
            self.check(run, monkeypatch, needed)

    def test_the_state_of_a_resumed_optimizer_is_there_already(self, run: Run) -> None:
        weights = sum(parameter.nbytes for parameter in run.model.parameters())
        needed = self.needed(run)
        parameter = next(run.model.parameters())
        run.optimizer.state[parameter] = {"step": torch.zeros(())}
        assert self.needed(run) == needed - 2 * weights

    def test_smaller_numbers_take_less(self, run: Run) -> None:
        exact = self.needed(run)
        run.trainer.precision = "bfloat16"
        assert self.needed(run) < 0.6 * exact

    def test_fewer_processes_make_the_same_batches(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        run.trainer.num_data_fetchers = 2
        two, sample = self.needed(run), 4 * 28**3
        run.trainer.num_data_fetchers = 5
        assert self.needed(run) == two + 3 * 2 * 6 * sample, "each has two batches ready"
        self.check(run, monkeypatch, two)
        assert run.trainer.num_data_fetchers == 2
        assert "2 processes make batches instead of num_data_fetchers 5" in caplog.text

    def test_the_number_stays_if_nothing_helps(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        run.trainer.num_data_fetchers = 5
        with pytest.raises(MemoryBudgetError):
            self.check(run, monkeypatch, 0)
        assert run.trainer.num_data_fetchers == 5

    def test_an_unknown_network_is_not_refused(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        def look(module: torch.nn.Module, values: tuple[torch.Tensor]) -> None:
            """Do what is impossible without computing."""
            int(values[0].sum())

        run.model.register_forward_pre_hook(look)
        self.check(run, monkeypatch, 0)


MEASURED = """
import json, sys
from pathlib import Path
import torch
from dacapo.experiments.trainers.training_memory import training_memory
from tests.helpers.memory import training_run

torch.set_num_threads(1)
run = training_run(Path(sys.argv[1]))
batch = int(sys.argv[2])
told = training_memory(run.trainer, run.model, batch, 1)
for _ in range(2):
    prediction = run.model.train()(torch.rand(batch, run.model.num_in_channels, *run.model.input_shape))
    run.task.loss.compute(prediction, torch.ones_like(prediction), torch.ones_like(prediction)).backward()
    run.optimizer.step()
    run.optimizer.zero_grad()
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"peak": peak * 1024, "told": told.total, "network": told.network}))
"""


@pytest.mark.slow
def test_what_is_told_is_what_is_measured(tmp_path: Path) -> None:
    peaks = {}
    for batch in (2, 32):
        command = [sys.executable, "-c", MEASURED, str(tmp_path), str(batch)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        peaks[batch] = json.loads(done.stdout.splitlines()[-1])
        assert peaks[batch]["peak"] <= peaks[batch]["told"]
    grown = peaks[32]["peak"] - peaks[2]["peak"]
    assert grown > 0.4 * (peaks[32]["network"] - peaks[2]["network"])
    assert parse_size("100MB") < grown
