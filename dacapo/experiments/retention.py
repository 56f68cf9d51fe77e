"""Remove the checkpoints of a training that nothing needs any more, if the options ask for it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dacapo.errors import NotFoundError
from dacapo.experiments.selection import select
from dacapo.options import DaCapoConfig, Options
from dacapo.store.create_store import create_weights_store

if TYPE_CHECKING:
    from dacapo.experiments.run import Run

logger = logging.getLogger(__name__)


def remove_old_checkpoints(run: Run) -> None:
    """Keep the latest checkpoints, every k-th, and those that a criterion chooses; remove the others.

    The options ``keep_checkpoints`` and ``keep_checkpoints_every`` say how many; without the first, all are kept.
    """
    options, store = Options.instance(), create_weights_store()
    if options.keep_checkpoints is None:
        return
    older = store.iterations(run)[: -options.keep_checkpoints]
    every = options.keep_checkpoints_every
    old = [iteration for iteration in older if every is None or iteration % every]
    if not old:
        return
    chosen = _chosen(run)
    for iteration in old:
        if iteration not in chosen:
            store.remove_old(run, iteration, _reason(options))
            logger.info("run %s: checkpoint %d is removed; options keep the latest and the best", run.name, iteration)


def _reason(options: DaCapoConfig) -> str:
    every = options.keep_checkpoints_every
    also = "" if every is None else f", keep_checkpoints_every {every}"
    return (
        f"training removed it, because the options keep a limited number of checkpoints (keep_checkpoints "
        f"{options.keep_checkpoints}{also}) and those with a best score"
    )


def _chosen(run: Run) -> set[int]:
    """Return the iterations that are best by any criterion, on a dataset or on the mean of all."""
    names = set(run.task.evaluation_scores.criteria)
    names |= {name.rpartition("__")[2] for name in names}
    datasets = [None, *(dataset.name for dataset in run.datasplit.validate or [])]
    chosen = set()
    for criterion in sorted(names):
        for dataset in datasets if len(datasets) > 1 else []:
            try:
                chosen.add(select(run, criterion, dataset).iteration)
            except NotFoundError:  # nothing is scored yet
                continue
    return chosen
