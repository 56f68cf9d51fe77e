"""Losses against recorded values and gradients, and the formulas of torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from dacapo.errors import ChannelMismatchError
from dacapo.experiments.tasks import losses
from dacapo.experiments.tasks.losses import AffinitiesLoss, CrossEntropyLoss, DummyLoss, HotDistanceLoss, Loss, MSELoss
from tests.helpers.golden_data import item_arrays, items

ITEMS = items("losses")
ALL = [AffinitiesLoss(2, 0.5), CrossEntropyLoss(), DummyLoss(), HotDistanceLoss(), MSELoss()]


def tensors(name):
    values = {key: torch.tensor(value) for key, value in item_arrays("losses", name).items()}
    return values["prediction"].requires_grad_(), values["target"], values["weight"], values


@pytest.mark.parametrize("name", [n for n, item in ITEMS.items() if "raises" not in item and "suspect" not in item])
def test_matches_recorded(name):
    item = ITEMS[name]
    prediction, target, weight, expected = tensors(name)
    loss = getattr(losses, item["loss"])(**item["parameters"]).compute(prediction, target, weight)
    loss.backward()
    torch.testing.assert_close(loss.double(), expected["loss"], rtol=1e-5, atol=0)
    torch.testing.assert_close(prediction.grad, expected["grad"], rtol=1e-5, atol=1e-9)


def test_without_descriptors_the_loss_is_that_of_affinities():
    # Recorded is nan, the mean of no descriptors; the loss of the affinities alone is what is meant.
    prediction, target, weight, _ = tensors("affinities_only")
    loss = AffinitiesLoss(**ITEMS["affinities_only"]["parameters"]).compute(prediction, target, weight)
    expected = F.binary_cross_entropy_with_logits(prediction, target, weight)
    torch.testing.assert_close(loss, expected)


def test_odd_channels_are_refused():
    odd = torch.zeros(1, 3, 2, 2)
    with pytest.raises(ChannelMismatchError, match="3 channels"):
        HotDistanceLoss().compute(odd, odd, odd)


def test_too_few_channels_for_the_affinities():
    few = torch.zeros(1, 1, 2, 2)
    with pytest.raises(ChannelMismatchError, match="too few"):
        AffinitiesLoss(2, 1).compute(few, few, few)


def test_cross_entropy_matches_torch():
    generator = torch.Generator().manual_seed(0)
    prediction = torch.randn(2, 3, 4, 5, generator=generator)
    labels = torch.randint(0, 3, (2, 4, 5), generator=generator)
    target = F.one_hot(labels, 3).movedim(-1, 1)
    torch.testing.assert_close(CrossEntropyLoss().compute(prediction, target), F.cross_entropy(prediction, labels))


def test_cross_entropy_passes_over_unknown_classes_and_zero_weights():
    prediction = torch.randn(1, 2, 4, requires_grad=True)
    target = torch.tensor([[[1, 0, 0, 1], [0, 1, 0, 0]]])
    weight = torch.tensor([[[1.0, 1, 1, 0], [1, 1, 1, 0]]])
    CrossEntropyLoss().compute(prediction, target, weight).backward()
    assert prediction.grad[0, :, :2].all()
    assert not prediction.grad[0, :, 2:].any()


@pytest.mark.parametrize("loss", ALL, ids=lambda loss: type(loss).__name__)
def test_no_weight_counts_all_alike(loss):
    prediction, target = torch.randn(1, 4, 3, 3), torch.rand(1, 4, 3, 3)
    torch.testing.assert_close(
        loss.compute(prediction, target), loss.compute(prediction, target, torch.ones_like(prediction))
    )


@pytest.mark.parametrize(
    "loss", [loss for loss in ALL if not isinstance(loss, DummyLoss)], ids=lambda x: type(x).__name__
)
def test_weight_zero_leaves_out(loss):
    prediction, target = torch.randn(1, 4, 3, 3, requires_grad=True), torch.rand(1, 4, 3, 3)
    weight = torch.ones(1, 4, 3, 3)
    weight[..., 0] = 0
    loss.compute(prediction, target, weight).backward()
    assert not prediction.grad[..., 0].any()
    assert prediction.grad[..., 1:].all()


def test_loss_is_abstract():
    with pytest.raises(TypeError):
        Loss()
    with pytest.raises(NotImplementedError):
        Loss.compute(DummyLoss(), None, None)
