"""Batches of samples that are tensors, made ahead of time in other processes and on the device of the network."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs
import numpy as np
import numpy.typing as npt
import torch
import torch.utils.data

from dacapo.errors import TrainingError
from dacapo.experiments.tasks.predictors.torch_targets import Classes, TorchTarget, stack_targets
from dacapo.utils.one_thread import one_thread

from .batches import BatchStream, Sampling, shared_memory_holds
from .torch_samples import Crop, PlainTarget, SampleMaker

if TYPE_CHECKING:
    from dacapo.experiments.tasks.predictors.torch_targets import SampleLabels

T = TypeVar("T")
U = TypeVar("U")
CPU = torch.device("cpu")


@attrs.define
class CropBatch:
    """What was read for a batch.

    Attributes:
        iteration: The iteration it is for.
        part: Its number within the iteration.
        crops: One per sample.
        targets: Their targets, where those are made on the CPU.
        shown: Their ground truth and masks if a snapshot is to be taken, where targets are made on the CPU.
        shows: Whether a snapshot is to be taken.
        moving_class_counts: None; classes are counted where batches come together.
    """

    iteration: int
    part: int
    crops: list[Crop]
    targets: list[TorchTarget | PlainTarget] | None
    shown: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]] | None
    shows: bool
    moving_class_counts: None = None

    def tensors(self) -> Iterator[torch.Tensor]:
        """Return all tensors that are not tiny."""
        for crop in self.crops:
            yield from (crop.raw, crop.gt, crop.mask)
        for target in self.targets or []:
            if isinstance(target, TorchTarget):
                yield from target.tensors()


@attrs.define
class MadeBatch:
    """A batch that lacks its weights only.

    Attributes:
        iteration: The iteration it is for.
        part: Its number within the iteration.
        raw: Float32, axes batch, channel, space.
        target: Target and classes, or what takes their place.
        gt: Ground truth in the region of the target, if a snapshot is to be taken.
        mask: Mask in that region, likewise.
        moving_class_counts: None; classes are counted where batches come together.
    """

    iteration: int
    part: int
    raw: torch.Tensor
    target: TorchTarget | list[PlainTarget]
    gt: npt.NDArray[Any] | None
    mask: npt.NDArray[Any] | None
    moving_class_counts: None = None

    def tensors(self) -> Iterator[torch.Tensor]:
        """Return the tensors that lie on the device of the network."""
        yield self.raw
        if isinstance(self.target, TorchTarget):
            yield from self.target.tensors()


@attrs.frozen
class Copied:
    """The values of a tensor, handed on as a copy."""

    values: npt.NDArray[Any]


def handed_on(batch: CropBatch | MadeBatch) -> Any:
    """Return a batch as a process hands it on: tensors in shared memory, or their values where there is too little."""
    if torch.utils.data.get_worker_info() is None:
        return batch
    if shared_memory_holds(sum(tensor.nbytes for tensor in batch.tensors())):
        return batch
    return _each(batch, lambda value: Copied(value.numpy()) if isinstance(value, torch.Tensor) else value)


def received(batch: Any) -> Any:
    """Undo :func:`handed_on`."""
    return _each(batch, lambda value: torch.from_numpy(value.values) if isinstance(value, Copied) else value)


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    """Change all values in a batch."""
    if isinstance(value, list):
        return [_each(part, change) for part in value]
    if isinstance(value, MadeBatch | CropBatch | Crop | TorchTarget | Classes):
        fields = {field.name: _each(getattr(value, field.name), change) for field in attrs.fields(type(value))}
        return attrs.evolve(value, **fields)
    return change(value)


class TorchBatches(BatchStream):
    """Batches as far as they are made on a CPU: completely, or what was read for them."""

    def __init__(
        self,
        maker: SampleMaker,
        device: torch.device,
        sampling: Sampling,
        start: int,
        num_workers: int,
        snapshot_interval: int | None = None,
        can_fork: bool = True,
    ) -> None:
        """Set what makes samples, for which device, and where to start; see ``BatchStream``."""
        super().__init__(sampling, start, [None] * num_workers, snapshot_interval)
        self.maker = maker
        self.device = device
        self.can_fork = can_fork

    def make(self, position: int, moving_class_counts: Any) -> Any:
        """Make a batch, or read what it needs if it is to be made on a GPU.

        Raises:
            TrainingError: If that fails.
        """
        iteration = self.sampling.iteration(position)
        try:
            with one_thread():
                read = self._read(iteration, self.sampling.part(position), position)
                return handed_on(finish(self.maker, read, self.device) if self.device.type == "cpu" else read)
        except Exception as error:
            what = str(error) if isinstance(error, TrainingError) else f"{type(error).__name__}: {error}"
            raise TrainingError(f"the batch of iteration {iteration} could not be made: {what}") from error

    def _read(self, iteration: int, part: int, position: int) -> CropBatch:
        crops = self.maker.read(self.sampling.seeds(position))
        batch = CropBatch(iteration, part, crops, None, None, self.shows(position))
        predictor = self.maker.predictor
        if self.device.type == "cpu" or (predictor.works_on_tensors and predictor.targets_on_device):
            return batch
        labels = [self.maker.labels(crop) for crop in crops]
        batch.targets = [self.maker.target(one) for one in labels]
        batch.shown = [self.maker.shown(one) for one in labels] if batch.shows else None
        for crop in crops:  # not needed any more
            crop.gt = crop.mask = torch.empty(0)
        return batch


def finish(maker: SampleMaker, batch: CropBatch, device: torch.device) -> MadeBatch:
    """Make on a device what is still to be made of a batch, all but the weights."""

    def send(values: torch.Tensor) -> torch.Tensor:
        if device.type == "cuda" and values.device.type == "cpu" and values.numel():
            values = values.pin_memory()  # so that this process need not wait for the transfer
        return values.to(device, non_blocking=True)

    crops = [crop.to(send) for crop in batch.crops]
    targets, shown = batch.targets, batch.shown
    if targets is None:
        labels: list[SampleLabels] = [maker.labels(crop) for crop in crops]
        targets = [maker.target(one) for one in labels]
        shown = [maker.shown(one) for one in labels] if batch.shows else None
    raw = torch.stack([maker.raw(crop) for crop in crops])
    gt, mask = (None, None) if shown is None else (np.stack(values) for values in zip(*shown, strict=True))
    return MadeBatch(batch.iteration, batch.part, raw, _together(targets, send), gt, mask)


def _together(
    targets: Sequence[TorchTarget | PlainTarget], send: Callable[[torch.Tensor], torch.Tensor]
) -> TorchTarget | list[PlainTarget]:
    tensors = [target for target in targets if isinstance(target, TorchTarget)]
    if len(tensors) < len(targets):
        return [target for target in targets if isinstance(target, PlainTarget)]
    target = stack_targets(tensors)
    return TorchTarget(send(target.target), [attrs.evolve(c, codes=send(c.codes)) for c in target.classes])


class Ahead(Generic[T, U]):
    """Items that are worked on one ahead of the one in use, in a thread and on a stream of its own.

    While a GPU computes on one batch, the next one is read, sent and changed. What comes out may be used as soon as it
    is there: the stream of the user waits for what is still to be done on it.
    """

    def __init__(
        self,
        items: Iterator[T],
        work: Callable[[T], U],
        device: torch.device,
        tensors: Callable[[U], Iterator[torch.Tensor]],
    ) -> None:
        """Start.

        Args:
            items: What to work on.
            work: What to do.
            device: Where tensors are to be.
            tensors: Return the tensors of what was worked on.
        """
        self._items = items
        self._work = work
        self._device = device
        self._tensors = tensors
        self._done: queue.Queue[tuple[U | None, Any, BaseException | None]] = queue.Queue(maxsize=1)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="batches", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[U]:
        """Return what was worked on, in order.

        Raises:
            Exception: What the items or the work raise.
        """
        while True:
            item, event, error = self._done.get()
            if error is not None:
                if isinstance(error, StopIteration):
                    return
                raise error
            assert item is not None
            if event is not None:
                current = torch.cuda.current_stream(self._device)
                current.wait_event(event)
                for tensor in self._tensors(item):
                    tensor.record_stream(current)  # its memory must not be used again before this stream is done
            yield item

    def close(self) -> None:
        """Stop, and wait for the thread."""
        self._stopped.set()
        while self._thread.is_alive():
            with contextlib.suppress(queue.Empty):
                self._done.get_nowait()
            self._thread.join(timeout=0.01)

    def _run(self) -> None:
        on_gpu = self._device.type == "cuda"
        stream: Any = torch.cuda.Stream(self._device) if on_gpu else None  # type: ignore[no-untyped-call]
        try:
            with torch.cuda.stream(stream) if on_gpu else contextlib.nullcontext():
                while not self._stopped.is_set():
                    made = self._work(next(self._items))
                    event = stream.record_event() if stream is not None else None
                    self._done.put((made, event, None))
        except BaseException as error:  # noqa: BLE001  (it is raised where items are taken)
            self._done.put((None, None, error))
