"""Checkpoints as files below one folder.

    <basedir>/<run>/checkpoints/iterations/<iteration>        a checkpoint
    <basedir>/<run>/checkpoints/<dataset>/<criterion>         the best one, self-contained
    <basedir>/<run>/checkpoints/<dataset>/<criterion>.json    {"iteration": 100}
    <basedir>/<run>/checkpoints/config.yaml                   the config they were trained with
    <basedir>/<run>/checkpoints/config.yaml.<number>          those that it replaced, counted from 1
    <basedir>/<run>/checkpoints/early_end.json                where and why training ended early, if it did
    <basedir>/<run>/checkpoints/removed.json                  why checkpoints were removed, by iteration

A checkpoint is a `torch.save` file of a dict with the entries ``format``, ``iteration``, ``model``, ``optimizer``,
``trainer`` and ``config``, followed by a checksum; see :mod:`dacapo.store.checksums`. Reading never executes code:
torch's restricted unpickler builds only tensors and plain containers. Checkpoints of the original dacapo hold one
object of its class ``Weights``, which is allowed in addition.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dacapo.errors import (
    CheckpointNotFoundError,
    ConfigError,
    DamagedFileError,
    StorageError,
)
from dacapo.store.checksums import check_content
from dacapo.store.early_end import FILE as EARLY_END
from dacapo.store.files import atomic_path, is_file, link_or_copy, paths_in, read_text, remove_file, write_text
from dacapo.store.run_folder import CHECKPOINTS
from dacapo.store.tensor_files import read_tensors, write_tensors
from dacapo.store.trained_config import check_trained_config, keep_replaced_config, plain_config, write_trained_config
from dacapo.store.weights_store import HasModel, Weights, WeightsStore
from dacapo.store.yaml_files import read_yaml
from dacapo.utils.names import check_name
from dacapo.utils.plain_json import parse_json

if TYPE_CHECKING:
    from dacapo.experiments.datasplits.datasets import Dataset
    from dacapo.experiments.run import Run

FORMAT = 1
_ITERATIONS = "iterations"
_CONFIG = "config.yaml"
_REMOVED = "removed.json"
_SHOWN = 10


class LocalWeightsStore(WeightsStore):
    """Keeps checkpoints in files; see the module for their layout.

    Files are written atomically. The folder of a run can be moved or copied.

    Args:
        basedir: Folder that holds one folder per run.
    """

    def __init__(self, basedir: Path | str) -> None:
        self.basedir = Path(basedir)

    def latest_iteration(self, run: Run | str) -> int | None:
        return max(self.iterations(run), default=None)

    def iterations(self, run: Run | str) -> list[int]:
        names = (path.name for path in paths_in(self._checkpoints(run) / _ITERATIONS))
        return sorted(int(name) for name in names if name.isascii() and name.isdigit())

    def store_weights(self, run: Run, iteration: int) -> None:
        weights = Weights.of_run(run, iteration)
        content = {
            "format": FORMAT,
            "iteration": iteration,
            "model": weights.model,
            "optimizer": weights.optimizer,
            "trainer": weights.trainer,
            "config": weights.config,
        }
        write_tensors(self._iteration(run, iteration), content)

    def check_config(self, run: HasModel, weights: Weights) -> None:
        # A missing file is written from the config in the checkpoint or, for a checkpoint of the original, from that of
        # the run.
        path = self.config_file(run)
        trained = plain_config(run.config) if weights.config is None else weights.config
        if is_file(path):
            trained = read_yaml(path)
        elif os.access(path.parent, os.W_OK):
            write_trained_config(path, trained)
        check_trained_config(trained, run.config, path)

    def record_config(self, run: Run) -> None:
        path, latest = self.config_file(run), self.latest_iteration(run)
        if latest is not None and is_file(path):
            check_trained_config(read_yaml(path), run.config, path)
        elif latest is not None:
            self.check_config(run, self.retrieve_latest(run))
        write_trained_config(path, plain_config(run.config))

    def recorded_config(self, run: Run | str) -> dict[str, Any] | None:
        path, latest = self.config_file(run), self.latest_iteration(run)
        if is_file(path):
            plain: dict[str, Any] = read_yaml(path)
            return plain
        return None if latest is None else self.retrieve_model(run, latest).config

    def replace_config(self, run: Run) -> None:
        old, path = self.recorded_config(run), self.config_file(run)
        if old is not None:
            keep_replaced_config(path, old, self.latest_iteration(run) or 0)
        write_trained_config(path, plain_config(run.config))

    def retrieve_weights(self, run: Run | str, iteration: int) -> Weights:
        return read_checkpoint(self._existing(run, iteration))

    def retrieve_model(self, run: Run | str, iteration: int) -> Weights:
        return read_checkpoint(self._existing(run, iteration), model_only=True)

    def remove(self, run: Run | str, iteration: int) -> None:
        remove_file(self._existing(run, iteration))

    def remove_old(self, run: Run | str, iteration: int, reason: str) -> None:
        path = self._checkpoints(run) / _REMOVED
        existing = self._existing(run, iteration)
        # First, since a note on a checkpoint that is there does no harm.
        write_text(path, json.dumps({**_read_removed(path), str(iteration): reason}))
        remove_file(existing)

    def store_best(self, run: Run | str, iteration: int, dataset: Dataset | str, criterion: str) -> None:
        source = self._existing(run, iteration)
        best = self._best(run, dataset, criterion)
        remove_file(_iteration_file(best), missing_ok=True)  # after a crash here, no stale iteration remains
        with atomic_path(best) as temporary:
            link_or_copy(source, temporary)
        write_text(_iteration_file(best), json.dumps({"iteration": iteration}))

    def retrieve_best(self, run: Run | str, dataset: Dataset | str, criterion: str) -> int:
        for path in self._best_paths(run, dataset, criterion):
            iteration = _read_iteration(_iteration_file(path))
            if iteration is not None:
                return iteration
        iteration = self.retrieve_best_weights(run, dataset, criterion).iteration
        if iteration is None:
            file = _iteration_file(self._best(run, dataset, criterion))
            raise DamagedFileError(
                f"the best checkpoint beside {file} does not say its iteration; store it again, or write "
                f'{{"iteration": <number>}} into that file'
            )
        return iteration

    def retrieve_best_weights(self, run: Run | str, dataset: Dataset | str, criterion: str) -> Weights:
        # In stores of the original, the best checkpoint is a link to an absolute path that may no longer exist, or is
        # in a folder named after the criterion.
        for path in self._best_candidates(run, dataset, criterion):
            if is_file(path):
                return read_checkpoint(path)
        raise CheckpointNotFoundError(
            f"run {_name(run)!r} has no best checkpoint for dataset {_name(dataset)!r} and criterion {criterion!r} "
            f"in {self._checkpoints(run)}; it is stored when a validation improves the score"
        )

    def check_best_name(self, run: Run | str, dataset: Dataset | str, criterion: str) -> None:
        self._best(run, dataset, criterion)

    def best_datasets(self, run: Run | str, criterion: str) -> list[str]:
        folder = self._checkpoints(run)
        named = check_name(criterion, "criterion")
        found = {
            place.name
            for place in paths_in(folder)
            if place.name != _ITERATIONS and any(is_file(place / name) for name in (named, f"{named}.json"))
        }
        found |= {path.stem for path in paths_in(folder / named) if path.suffix == ".json"}
        return sorted(found)

    def config_file(self, run: HasModel | str) -> Path:
        """Return the file that records the config of the checkpoints; it need not exist."""
        return self._checkpoints(run) / _CONFIG

    def _best_paths(self, run: Run | str, dataset: Dataset | str, criterion: str) -> tuple[Path, Path]:
        """Return the path of the best checkpoint, and the path at which the original stores it."""
        straight = self._best(run, dataset, criterion)
        return straight, straight.parent.parent / criterion / straight.parent.name

    def _best_candidates(self, run: Run | str, dataset: Dataset | str, criterion: str) -> Iterator[Path]:
        for path in self._best_paths(run, dataset, criterion):
            if not path.is_symlink():
                yield path
            iteration = _read_iteration(_iteration_file(path))
            if iteration is not None:
                yield self._iteration(run, iteration)
            # Last, since after a move an absolute link may lead to a file of another run.
            yield path

    def _not_there(self, run: Run | str, iteration: int) -> str:
        stored = self.iterations(run)
        known = f"stored are {_listed(stored)}" if stored else "none is stored"
        folder = self._checkpoints(run)
        reason = _read_removed(folder / _REMOVED).get(str(iteration))
        why = "" if reason is None else f": {reason}"
        return f"run {_name(run)!r} has no checkpoint of iteration {iteration} in {folder}{why}; {known}"

    def _checkpoints(self, run: HasModel | str) -> Path:
        return self.basedir / check_name(_name(run), "run name") / CHECKPOINTS

    def _iteration(self, run: Run | str, iteration: int) -> Path:
        return self._checkpoints(run) / _ITERATIONS / str(int(iteration))

    def _existing(self, run: Run | str, iteration: int) -> Path:
        path = self._iteration(run, iteration)
        if not is_file(path):
            raise CheckpointNotFoundError(self._not_there(run, iteration))
        return path

    def _best(self, run: Run | str, dataset: Dataset | str, criterion: str) -> Path:
        folder = check_name(_name(dataset), "dataset name")
        if folder in (_ITERATIONS, _CONFIG, _REMOVED, EARLY_END) or folder.startswith(f"{_CONFIG}."):
            raise ConfigError(f"a dataset cannot be named {folder!r}, which dacapo uses itself; rename the dataset")
        return self._checkpoints(run) / folder / check_name(criterion, "criterion")


def read_checkpoint(path: Path, model_only: bool = False) -> Weights:
    """Read a checkpoint of this package or of the original, its tensors on the CPU.

    Args:
        path: The file.
        model_only: Whether to omit optimizer and trainer. Tensors of the model are then read from the file on first
            use, so use them at once.

    Raises:
        StorageError: If the file cannot be read or is not a checkpoint; a
            :class:`~dacapo.errors.DamagedFileError` if its content has changed, or a weight is not finite.
        UnsafeFileError: If it would execute code.
    """
    check_content(path)
    content = read_tensors(path, mapped=model_only)
    if isinstance(content, Weights):
        # The restricted unpickler fills the object without calling __init__.
        content = vars(content)
    states = [content.get(part) for part in ("model", "optimizer")] if isinstance(content, dict) else [None]
    if not all(isinstance(state, dict) for state in states):
        raise DamagedFileError(f"{path} is not a checkpoint: it holds no states of a model and an optimizer")
    if content.get("format", FORMAT) != FORMAT:
        raise StorageError(
            f"{path} has checkpoint format {content['format']}, this version reads format {FORMAT}; update dacapo"
        )
    _check_finite(path, content["model"])
    return Weights(
        content["model"],
        {} if model_only else content["optimizer"],
        trainer_state=None if model_only else content.get("trainer"),
        iteration=content.get("iteration"),
        config=content.get("config"),
    )


def _check_finite(path: Path, state: dict[str, Any]) -> None:
    """Refuse a checkpoint with weights that are NaN or infinite; training never stores any."""
    found = [
        name
        for name, value in state.items()
        if isinstance(value, torch.Tensor) and value.is_floating_point() and not bool(torch.isfinite(value).all())
    ]
    if found:
        raise DamagedFileError(
            f"{path} is damaged: weights are not finite ({', '.join(found[:3])}{', ...' if found[3:] else ''}); remove "
            "it or restore a copy"
        )


def _name(item: Any) -> str:
    name: str = getattr(item, "name", item)
    return name


def _iteration_file(best: Path) -> Path:
    return best.with_name(f"{best.name}.json")


def _read_iteration(file: Path) -> int | None:
    if not is_file(file):
        return None
    text = read_text(file)
    try:
        return int(parse_json(text)["iteration"])
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(f'{file} is damaged: expected {{"iteration": <number>}} ({error})') from error


def _read_removed(file: Path) -> dict[str, str]:
    """Return why checkpoints were removed, by iteration."""
    if not is_file(file):
        return {}
    try:
        reasons = parse_json(read_text(file))
    except ValueError as error:
        raise DamagedFileError(f"{file} is damaged: {error}; remove it") from error
    if not isinstance(reasons, dict):
        raise DamagedFileError(f"{file} is damaged: expected reasons by iteration; remove it")
    return {str(iteration): str(reason) for iteration, reason in reasons.items()}


def _listed(iterations: list[int]) -> str:
    more = len(iterations) - _SHOWN
    return (f"{more} earlier ones, " if more > 0 else "") + ", ".join(map(str, iterations[-_SHOWN:]))
