"""Tables about runs, as text."""

from __future__ import annotations

import logging

from dacapo.errors import ConfigError, NotFoundError
from dacapo.experiments.run import Run
from dacapo.store.create_store import create_config_store, create_stats_store, create_weights_store
from dacapo.store.early_end import early_end_at
from dacapo.utils.text_table import text_table

logger = logging.getLogger(__name__)


def score_table(run_name: str, iteration: int) -> str:
    """Return the scores of a validated iteration by dataset and parameters, for the criteria that select the best.

    Raises:
        NotFoundError: If the iteration was not validated.
    """
    scores = Run.get_validation_scores(create_config_store().retrieve_run_config(run_name))
    stored = create_stats_store().retrieve_validation_iteration_scores(run_name)
    found = next((s for s in stored if s.iteration == iteration), None)
    if found is None:
        raise NotFoundError(f"iteration {iteration} of run {run_name!r} was not validated")
    shown = [c for c, name in enumerate(scores.criteria) if scores.evaluation_scores.store_best(name)]
    rows = [
        [dataset.name, str(parameters), *(f"{found.scores[d][p][c]:.4f}" for c in shown)]
        for d, dataset in enumerate(scores.datasets)
        for p, parameters in enumerate(scores.parameters)
    ]
    return text_table(["dataset", "parameters", *(scores.criteria[c] for c in shown)], rows)


def run_table() -> str:
    """Return a table of the stored runs with the iterations they were trained for and their latest checkpoints.

    A run with an unreadable config is listed too, and a warning gives the reason.
    """
    configs, stats, weights = create_config_store(), create_stats_store(), create_weights_store()
    rows = []
    for name in configs.retrieve_run_config_names():
        try:
            wanted = str(configs.retrieve_run_config(name).num_iterations)
        except ConfigError as error:
            logger.warning("%s", " ".join(str(error).split()))
            wanted = "?"
        trained = stats.retrieve_training_stats(name).trained_until()
        latest = weights.latest_iteration(name)
        early = ", ended early" if str(trained) != wanted and early_end_at(name, trained) is not None else ""
        rows.append([name, f"{trained} of {wanted}{early}", "none" if latest is None else str(latest)])
    return text_table(["run", "trained", "checkpoint"], rows)
