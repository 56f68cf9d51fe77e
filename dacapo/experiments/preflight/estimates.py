"""Estimates of the memory and the time that a training takes."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch.utils.flop_counter import FlopCounterMode

from dacapo.compute_context import create_compute_context
from dacapo.experiments.architectures.architecture import dry_run
from dacapo.experiments.trainers.batch_trainer import BatchTrainer
from dacapo.experiments.trainers.training_memory import training_memory
from dacapo.utils.memory import available_memory, format_size

from .look import Look
from .report import Finding

if TYPE_CHECKING:
    from dacapo.experiments.model import Model

MEASURED = 40e9
"""Floating point operations of a forward pass that is measured on a CPU; a few seconds on one core."""
BACKWARD = 2
"""A backward pass takes about as long as this number of forward passes."""


def memory(look: Look) -> Iterator[Finding]:
    """Estimate the memory of training, and compare it with that of the device."""
    if look.model is None or not isinstance(look.trainer, BatchTrainer):
        return
    trainer = look.trainer
    try:
        needed = training_memory(trainer, look.model, trainer.batch_size, trainer.accumulate)
    except (NotImplementedError, RuntimeError) as error:
        yield Finding("note", "memory", "", f"cannot be estimated without running the network: {error}")
        return
    free = _free_memory(create_compute_context().device)
    where = "" if free is None else f", of {format_size(free)} free"
    if free is not None and needed.total > free:
        message = f"{needed}{where}; reduce batch_size, or train with a limit (max_memory), which divides batches"
        yield Finding("warning", "memory", "trainer_config.batch_size", message)
    else:
        yield Finding("note", "memory", "", f"{needed}{where}")


def _free_memory(device: torch.device) -> int | None:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return available_memory()


def duration(look: Look) -> Iterator[Finding]:
    """Estimate the time of training from a forward pass of one sample, where that is quick."""
    if look.model is None or not isinstance(look.trainer, BatchTrainer) or look.num_iterations is None:
        return
    shape = (1, look.model.num_in_channels, *look.model.input_shape)
    try:
        with FlopCounterMode(display=False) as counter:
            dry_run(look.model, shape)
    except (NotImplementedError, RuntimeError) as error:
        yield Finding("note", "time", "", f"cannot be estimated without running the network: {error}")
        return
    device = create_compute_context().device
    work = f"{counter.get_total_flops() / 1e9:,.1f} GFLOP for a sample"
    if device.type == "cpu" and counter.get_total_flops() > MEASURED:
        yield Finding("note", "time", "", f"not measured: a pass of the network takes {work}, too long on this CPU")
        return
    samples = look.trainer.batch_size * look.trainer.accumulate
    each = samples * (1 + BACKWARD) * _forward_seconds(look.model, shape, device)
    message = (
        f"the network takes about {_in_words(each)} for an iteration on this {device.type.upper()} ({work}), and "
        f"{_in_words(each * look.num_iterations)} for {look.num_iterations:,}, without reading data and validation"
    )
    yield Finding("note", "time", "", message)


def _forward_seconds(model: Model, shape: tuple[int, ...], device: torch.device) -> float:
    """Return the time of a forward pass; the model and the random state stay as they are."""
    network = copy.deepcopy(model).eval().to(device)
    sample = torch.zeros(shape, device=device)
    best = math.inf
    with torch.no_grad():
        for _ in range(2 if device.type == "cpu" else 5):  # the first pass is slower
            started = time.perf_counter()
            network(sample)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best = min(best, time.perf_counter() - started)
    return best


def _in_words(seconds: float) -> str:
    for limit, divisor, unit in ((1, 1e-3, "ms"), (120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.3g} {unit}"
    return f"{seconds / 86400:.3g} days"
