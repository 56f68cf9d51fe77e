"""End a training that no longer improves."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import attrs

from dacapo.errors import ConfigError
from dacapo.experiments.config import Config, field
from dacapo.experiments.selection import matching_criteria, select_of_validation
from dacapo.store.early_end import EarlyEnd, read_early_end, write_early_end
from dacapo.utils import distributed
from dacapo.utils.field_types import mistyped_field

if TYPE_CHECKING:
    from dacapo.experiments.run import Run

logger = logging.getLogger(__name__)


@attrs.define
class EarlyStoppingConfig(Config):
    """End a training whose validation scores no longer improve."""

    patience: int = field("Number of validations in a row without improvement after which training ends.")
    criterion: str | None = field(
        "The score that has to improve, with its best parameters and over all validation datasets. By default the one "
        "that selects the best checkpoint.",
        default=None,
    )
    min_delta: float = field("The score has to improve by more than this.", default=0.0)

    def verify(self) -> tuple[bool, str]:
        """Check the types of all fields, and that the numbers are not negative."""
        mistyped = mistyped_field(self)
        if mistyped is not None:
            return False, mistyped
        if self.patience < 1:
            return False, f"patience is {self.patience}, but has to be at least 1 validation"
        if not 0 <= self.min_delta < math.inf:
            return False, f"min_delta is {self.min_delta}, but has to be 0 or more"
        return super().verify()


def check_early_stopping(run: Run) -> None:
    """Check that a run can end early as its config says.

    Raises:
        ConfigError: If a value is invalid, or nothing is validated.
        NotFoundError: If the task has no such criterion.
    """
    config = run.config.early_stopping
    if config is None:
        return
    works, why = config.verify()
    if not works:
        raise ConfigError(f"early_stopping: {why}")
    if not run.datasplit.validate:
        raise ConfigError("early_stopping needs scores, but the data split has no validation datasets; remove either")
    matching_criteria(run.task.evaluation_scores.criteria, _criterion(run, config))


def _criterion(run: Run, config: EarlyStoppingConfig) -> str:
    criterion = config.criterion or run.task.evaluation_scores.default_criterion
    if criterion is None:
        raise ConfigError("early_stopping needs scores, but the task of this run has no criteria; remove it")
    return criterion


def reason_to_end(run: Run, since: int = 0) -> str | None:
    """Return why the training of a run ends now, as the second half of a sentence; None if it goes on.

    Args:
        run: The run, with its scores so far.
        since: Validations until this iteration are not counted.
    """
    config = run.config.early_stopping
    if config is None:
        return None
    criterion = _criterion(run, config)
    name = matching_criteria(run.task.evaluation_scores.criteria, criterion)[0]
    sign = 1 if run.task.evaluation_scores.higher_is_better(name) else -1
    best, best_iteration = math.nan, 0
    for scores in run.validation_scores.scores:
        selection = select_of_validation(run, scores, criterion)
        value = math.nan if selection is None else sign * selection.value
        if value - best > config.min_delta or math.isnan(best) > math.isnan(value):
            best, best_iteration = value, scores.iteration
    waited = sum(scores.iteration > max(best_iteration, since) for scores in run.validation_scores.scores)
    if waited < config.patience:
        return None
    if math.isnan(best):
        return f"none of {waited} validations has a score of {criterion}"
    than = f" by more than {config.min_delta:g}" if config.min_delta else ""
    return (
        f"{criterion} was {sign * best:.4g} at iteration {best_iteration}, and has not improved{than} in the last "
        f"{waited} validations"
    )


class EarlyStopping:
    """Decides during a training whether it ends early, the same on all ranks.

    Attributes:
        ended: Whether an earlier training has ended early, and this one is to leave it at that.
    """

    def __init__(self, run: Run, force: bool) -> None:
        """Look at how the earlier training ended.

        Args:
            run: The run, resumed.
            force: Whether to go on nevertheless; patience then counts from here.
        """
        self._since = 0
        ended = distributed.is_main() and self._has_ended(run, force)
        (self.ended,) = distributed.agree(ended)

    def _has_ended(self, run: Run, force: bool) -> bool:
        done = run.training_stats.trained_until()
        record = read_early_end(run.name, done)
        if record is None or record.iteration < done:  # validations before the record were accepted
            self._since = 0 if record is None else record.iteration
        elif reason_to_end(run) is None or force or record.num_iterations < run.train_until:
            self._since = done
        else:
            logger.warning(
                "run %s ended early at iteration %d of %d: %s. To go on, lengthen it, or train it with force=True "
                "(--force)",
                run.name,
                done,
                run.train_until,
                record.reason,
            )
            return True
        if force and reason_to_end(run, self._since) is not None:  # the process was killed before it left a record
            self._since = done
        return False

    def ends(self, run: Run) -> bool:
        """Return whether training ends now, and record it; all ranks call this after each validation."""
        reason = reason_to_end(run, self._since) if distributed.is_main() else None
        if reason is not None:
            done = run.training_stats.trained_until()
            logger.info("run %s ends early at iteration %d of %d: %s", run.name, done, run.train_until, reason)
            write_early_end(run.name, EarlyEnd(done, run.train_until, reason))
        return distributed.agree(reason is not None)[0]
