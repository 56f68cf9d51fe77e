"""The exponential moving average of weights, by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dacapo.errors import TrainingError
from dacapo.experiments.trainers.weight_average import WeightAverage


def normalized() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2))


def test_running_means_are_averaged_and_counts_are_copied() -> None:
    model = normalized().train()
    average = WeightAverage.of_model(model, 0.75)
    norm, means = model[1], []  # type: ignore[index]
    for _ in range(40):
        model(torch.randn(4, 1, 8, 8))
        means.append(norm.running_mean.clone())
        average.update(model)
    expected = torch.zeros(2)
    for number, mean in enumerate(means, 1):
        decay = min(0.75, number / (number + 9))
        expected = decay * expected + (1 - decay) * mean
    average.show(model)
    torch.testing.assert_close(norm.running_mean, expected)
    assert int(norm.num_batches_tracked) == 40


def test_early_averages_follow_the_weights() -> None:
    """With a constant decay of 0.999, the average would still be the initial weights after ten iterations."""
    model = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(model.weight, 0.0)
    average = WeightAverage.of_model(model, 0.999)
    torch.nn.init.constant_(model.weight, 1.0)
    for _ in range(10):
        average.update(model)
    average.show(model)
    assert model.weight.item() > 0.99


def test_showing_and_hiding_gives_back_the_same_bits() -> None:
    model = normalized()
    average = WeightAverage.of_model(model, 0.9)
    torch.nn.init.normal_(model[0].weight)  # type: ignore[index]
    average.update(model)
    trained = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(3):
        average.show(model)
        average.show(model)
        assert not torch.equal(model.state_dict()["0.weight"], trained["0.weight"])
        average.hide(model)
        average.hide(model)
        assert all(torch.equal(value, trained[name]) for name, value in model.state_dict().items())


def test_parameters_stay_the_objects_that_an_optimizer_holds() -> None:
    model = normalized()
    before = [(id(parameter), parameter.data_ptr()) for parameter in model.parameters()]
    average = WeightAverage.of_model(model, 0.9)
    average.update(model)
    average.show(model)
    assert [(id(parameter), parameter.data_ptr()) for parameter in model.parameters()] == before


def test_a_state_does_not_change_with_later_updates() -> None:
    model = torch.nn.Linear(1, 1)
    average = WeightAverage.of_model(model, 0.9)
    other = WeightAverage.from_state(average.state(), 0.9)
    torch.nn.init.constant_(model.weight, 7.0)
    before = average.state()["kept"]["weight"].clone()
    other.update(model)
    assert torch.equal(average.state()["kept"]["weight"], before)


def test_another_model_is_refused_before_it_changes() -> None:
    average = WeightAverage.of_model(torch.nn.Linear(1, 1), 0.9)
    average.update(torch.nn.Linear(1, 1))
    other = torch.nn.Linear(2, 1)
    before = other.weight.detach().clone()
    with pytest.raises(TrainingError, match="does not belong to this model: weight differ"):
        average.show(other)
    assert torch.equal(other.weight, before)


def test_the_average_varies_less_than_the_weights() -> None:
    """On a noisy problem, losses of neighboring averages differ far less than those of the weights themselves."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(256, 8, generator=generator)
    truth = inputs @ torch.randn(8, 1, generator=generator)
    torch.manual_seed(0)
    model = torch.nn.Linear(8, 1)
    average, optimizer = WeightAverage.of_model(model, 0.98), torch.optim.SGD(model.parameters(), lr=0.2)

    def loss() -> float:
        with torch.no_grad():
            return float((model(inputs) - truth).square().mean())

    found = []
    for iteration in range(400):
        chosen = torch.randint(256, (4,), generator=generator)
        noise = torch.randn(4, 1, generator=generator)
        optimizer.zero_grad()
        (model(inputs[chosen]) - truth[chosen] - noise).square().mean().backward()
        optimizer.step()
        average.update(model)
        if iteration >= 200 and iteration % 5 == 0:
            raw = loss()
            average.show(model)
            found.append((raw, loss()))
            average.hide(model)
    raw, averaged = np.array(found).T
    assert np.abs(np.diff(averaged)).mean() < 0.1 * np.abs(np.diff(raw)).mean()
    assert averaged.max() < raw.min()
