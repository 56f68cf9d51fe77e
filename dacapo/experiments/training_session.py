"""Record everything that a training session depends on: config, seeds, versions, input data, and the machine."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dacapo.experiments.build import run_seed
from dacapo.experiments.datasplits.datasets.arrays import Array
from dacapo.experiments.datasplits.datasets.arrays.view import ArrayView
from dacapo.experiments.loggers.public_config import public_config
from dacapo.options import DaCapoConfig
from dacapo.store.create_store import create_weights_store
from dacapo.store.early_end import early_end_at
from dacapo.store.session_records import new_record, read_records, write_record
from dacapo.store.training_lock import holder_of
from dacapo.utils import distributed
from dacapo.utils.environment import machine, versions

if TYPE_CHECKING:
    from dacapo.experiments.run import Run

logger = logging.getLogger(__name__)

SESSION_HEADER = ("session", "iterations", "outcome", "begun", "ended", "dacapo", "torch", "machine")
FINISHED, STOPPED, FAILED, KILLED, RUNNING = "finished", "stopped", "failed", "killed", "running"
ENDED_EARLY = "ended early"


@contextmanager
def recorded_session(run: Run, settings: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Record the session that trains a run inside a ``with`` block; none if the run is trained to its end already.

    A warning names input data whose metadata differs from that of the session before.

    Args:
        run: The run, resumed from its latest checkpoint.
        settings: Settings of the training that its config does not hold.

    Raises:
        StorageError: If the record cannot be written.
    """
    begin = run.training_stats.trained_until()
    if not distributed.is_main() or begin >= run.train_until:
        yield
        return
    record: dict[str, Any] = {
        "begun": _now(),
        "ended": None,
        "outcome": None,
        "iterations": {"from": begin, "to": None},
        "config": public_config(run),
        "seeds": {"run": run_seed(run.config), "configured": run.config.trainer_config.seed},
        "settings": {"ranks": distributed.world_size(), **(settings or {})},
        "versions": versions(),
        "inputs": describe_inputs(run),
        "machine": machine(),
    }
    _compare_inputs(run.name, record["inputs"])
    path = new_record(run.name)
    write_record(path, record)
    record["outcome"] = FAILED
    try:
        yield
        record["outcome"] = _outcome(run)
    except BaseException as error:
        record["error"] = f"{type(error).__name__}: {error}"
        raise
    finally:
        saved = create_weights_store().latest_iteration(run) or 0
        write_record(path, {**record, "ended": _now(), "iterations": {"from": begin, "to": saved}})


def _outcome(run: Run) -> str:
    trained = run.training_stats.trained_until()
    if trained >= run.train_until:
        return FINISHED
    return STOPPED if early_end_at(run.name, trained) is None else ENDED_EARLY


def sessions_of(run_name: str, options: DaCapoConfig | None = None) -> list[dict[str, Any]]:
    """Return the records of the training sessions of a run, the earliest first.

    A session that was killed could not record its end: its outcome is ``killed``, and it reached the iteration from
    which the next one resumed, or else the latest checkpoint. The outcome of one that still trains is ``running``.

    Raises:
        StorageError: If a record cannot be read.
    """
    records = read_records(run_name, options)
    for number, record in enumerate(records):
        if record["outcome"] is None:
            is_last = number == len(records) - 1
            is_running = is_last and holder_of(run_name, options) is not None
            record["outcome"] = RUNNING if is_running else KILLED
            if not is_running:
                latest = create_weights_store(options).latest_iteration(run_name) or 0
                record["iterations"]["to"] = latest if is_last else records[number + 1]["iterations"]["from"]
    return records


def session_rows(sessions: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Return what a table shows of training sessions, below :data:`SESSION_HEADER`."""
    rows = []
    for one in sessions:
        reach, versions, machine = one["iterations"], one["versions"], one["machine"]
        end = "" if reach["to"] is None else reach["to"]
        processors = ", ".join(dict.fromkeys(map(str, machine["gpus"]))) or machine.get("cpu", "?")
        times = ((one[name] or "").replace("T", " ").removesuffix("+00:00") for name in ("begun", "ended"))
        named = (str(versions.get(name, "?")) for name in ("dacapo", "torch"))
        where = f"{machine.get('host', '?')}, {processors}"
        rows.append((str(one["session"]), f"{reach['from']} to {end}", str(one["outcome"]), *times, *named, where))
    return rows


def describe_inputs(run: Run) -> list[dict[str, Any]]:
    """Return where each array of a run's datasets comes from, and a hash of its metadata; reads no voxels."""
    found = []
    for part, datasets in (("train", run.datasplit.train), ("validate", run.datasplit.validate or [])):
        for number, dataset in enumerate(datasets):
            arrays = {"raw": dataset.raw, "gt": dataset.gt, "mask": dataset.mask}
            for role, array in arrays.items():
                if array is not None:
                    place = f"{part}[{number}]/{dataset.name}/{role}"
                    text = json.dumps(_all_metadata(array), sort_keys=True, default=str)
                    digest = hashlib.sha256(text.encode()).hexdigest()
                    read = [str(one) for one in _stored(array)]
                    found.append({"place": place, "read_from": read, **_metadata(array), "sha256": digest})
    return found


def _metadata(array: Array) -> dict[str, Any]:
    return {
        "axes": list(array.axes),
        "dtype": str(array.dtype),
        "offset": list(array.roi.offset),
        "shape": list(array.roi.shape),
        "voxel_size": list(array.voxel_size),
        "units": list(array.units),
        "channels": array.num_channels,
    }


def _all_metadata(array: Array) -> dict[str, Any]:
    """Return the metadata of an array and of those that it is computed from."""
    sources = [_all_metadata(source) for source in _sources(array)]
    return {**_metadata(array), "chunks": array.chunk_shape, "attributes": dict(array.attrs), "sources": sources}


def _stored(array: Array) -> Iterator[Array]:
    """Yield the arrays that an array is computed from in the end."""
    sources = _sources(array)
    for source in sources:
        yield from _stored(source)
    if not sources:
        yield array


def _sources(array: Array) -> list[Array]:
    return array.sources if isinstance(array, ArrayView) else []


def _compare_inputs(run_name: str, inputs: list[dict[str, Any]]) -> None:
    earlier = read_records(run_name)
    before = {one["place"]: one["sha256"] for one in earlier[-1]["inputs"]} if earlier else {}
    changed = [one["place"] for one in inputs if before.get(one["place"], one["sha256"]) != one["sha256"]]
    if changed:
        logger.warning(
            "run %s: the metadata of input data has changed since training session %d: %s",
            run_name,
            earlier[-1]["session"],
            ", ".join(changed),
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
