"""What pages show of stored runs, read again only when it has changed."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from dacapo.errors import DacapoError
from dacapo.experiments.score_book import ScoreBook, TaskOfRun
from dacapo.options import DaCapoConfig, Options
from dacapo.store.converter import to_plain
from dacapo.store.create_store import create_config_store, create_stats_store
from dacapo.store.early_end import early_end_at
from dacapo.utils.sampled_curve import SampledCurve

if TYPE_CHECKING:
    from dacapo.experiments.run_config import RunConfig
    from dacapo.experiments.tasks import Task

BINS = 800
"""Most points of a curve; more than a page has pixels for."""

ACTIVE = 120.0
"""Seconds since its last record after which a run no longer counts as training."""

_CURVES = 64  # curves kept in memory, about 40 kB each


@attrs.frozen
class Card:
    """One line in the list of runs.

    Attributes:
        name: Name of the run.
        parts: Kinds of task, architecture and trainer, and the name of the data split; none of an unreadable config.
        trained: Number of iterations so far.
        wanted: Number of all iterations, None if the config is unreadable.
        loss: The last loss.
        validated: Number of validations.
        last_validated: Iteration of the last one.
        criterion: The criterion of ``score``.
        score: Best score.
        best: Iteration of the best score.
        higher: Whether higher scores are better.
        changed: When it last stored something, in seconds since 1970.
        ended_early: Whether training ended early, because it no longer improved.
        problem: Why something cannot be shown.
    """

    name: str
    parts: tuple[str, ...] = ()
    trained: int = 0
    wanted: int | None = None
    loss: float | None = None
    validated: int = 0
    last_validated: int | None = None
    criterion: str | None = None
    score: float | None = None
    best: int | None = None
    higher: bool = False
    changed: float | None = None
    ended_early: bool = False
    problem: str = ""

    @property
    def status(self) -> str:
        """``finished``, ``training``, ``stopped`` or ``new``."""
        if self.ended_early or (self.wanted is not None and self.trained >= self.wanted):
            return "finished"
        if self.changed is not None and time.time() - self.changed < ACTIVE:
            return "training"
        return "stopped" if self.trained else "new"


@attrs.define
class _Followed:
    curve: SampledCurve
    mark: Any = None


class Catalogue:
    """The runs of a store.

    All methods may be called by several threads. Errors in one run do not hide the others: a card has a ``problem``.
    """

    def __init__(self, options: DaCapoConfig | None = None) -> None:
        """Open the stores.

        Args:
            options: Where the stores are; by default the options in use.
        """
        options = options or Options.instance()
        self.configs, self.stats = create_config_store(options), create_stats_store(options)
        self.options = options
        self._lock = threading.RLock()
        self._kept: dict[tuple[str, str], tuple[Hashable, Any]] = {}
        self._tasks: dict[str, Task] = {}
        self._curves: OrderedDict[str, _Followed] = OrderedDict()

    def names(self) -> list[str]:
        """Return the names of all runs, sorted."""
        return self.configs.retrieve_run_config_names()

    def state(self, names: Sequence[str]) -> Hashable:
        """Return a value that changes whenever one of some runs does."""
        return tuple((name, self._state(name)) for name in names)

    def config(self, name: str) -> RunConfig:
        """Return the config of a run.

        Raises:
            ConfigError: If it is unknown or unreadable.
        """
        state = self.configs.run_config_state(name)
        found: RunConfig = self._keep("config", name, state, lambda: self.configs.retrieve_run_config(name))
        return found

    def cards(self) -> list[Card]:
        """Return a card of each run."""
        return [self.card(name) for name in self.names()]

    def card(self, name: str) -> Card:
        """Return the card of a run."""
        found: Card = self._keep("card", name, self._state(name), lambda: self._make_card(name))
        if found.wanted is None or not 0 < found.trained < found.wanted:
            return found
        try:  # each time, since it is recorded after everything else
            early = early_end_at(name, found.trained, self.options) is not None
        except DacapoError as error:
            return attrs.evolve(found, problem=str(error))
        return attrs.evolve(found, ended_early=early)

    def scores(self, name: str) -> ScoreBook:
        """Return the scores of a run.

        Raises:
            DacapoError: If they do not belong to its config, or cannot be read.
        """
        found: ScoreBook = self._keep("scores", name, self._state(name), lambda: self._make_scores(name))
        return found

    def losses(self, name: str) -> SampledCurve:
        """Return the losses of a run, in bins; only those that are new are read."""
        with self._lock:
            followed = self._curves.pop(name, None) or _Followed(SampledCurve(BINS))
            news = self.stats.losses_since(name, followed.mark)
            if news.anew:
                followed.curve = SampledCurve(BINS)
            followed.curve.extend(news.iterations, news.losses)
            followed.mark = news.mark
            self._curves[name] = followed
            while len(self._curves) > _CURVES:
                self._curves.popitem(last=False)
            return followed.curve

    def _state(self, name: str) -> Hashable:
        return self.configs.run_config_state(name), self.stats.state(name)

    def _keep(self, kind: str, name: str, state: Hashable, make: Any) -> Any:
        """Return what was made for a run in its present state, and make it if there is none."""
        with self._lock:
            kept = self._kept.get((kind, name))
            if kept is None or kept[0] != state:
                kept = self._kept[kind, name] = (state, make())
            return kept[1]

    def _task(self, config: RunConfig) -> Task:
        """Return the task of a config; many runs have the same one."""
        key = repr(to_plain(config.task_config))
        with self._lock:
            if key not in self._tasks:
                self._tasks[key] = config.task_config.task_type(config.task_config)
            return self._tasks[key]

    def _make_scores(self, name: str) -> ScoreBook:
        config = self.config(name)
        stored = self.stats.retrieve_validation_iteration_scores(name)
        return ScoreBook.of(TaskOfRun(config, self._task(config)), stored)

    def _make_card(self, name: str) -> Card:
        card = Card(name)
        try:
            config = self.config(name)
            card = attrs.evolve(card, parts=parts_of(config), wanted=config.num_iterations)
            card = self._with_progress(card)
            return self._with_best(card, self._make_scores(name))
        except DacapoError as error:
            return attrs.evolve(card, problem=str(error))

    def _with_progress(self, card: Card) -> Card:
        last = self.stats.last_training_stats(card.name)
        changed = self.stats.changed(card.name)
        if last is None:
            return attrs.evolve(card, changed=changed)
        return attrs.evolve(card, trained=last.iteration + 1, loss=last.loss, changed=changed)

    def _with_best(self, card: Card, book: ScoreBook) -> Card:
        criterion = book.run.task.evaluation_scores.default_criterion
        last = next(reversed(book.iterations), None)
        card = attrs.evolve(card, validated=len(book.iterations), last_validated=last, criterion=criterion)
        best = book.best(criterion) if criterion is not None else None
        if best is None or criterion is None:
            return card
        return attrs.evolve(card, score=best.value, best=best.iteration, higher=book.is_higher_better(criterion))


def parts_of(config: RunConfig) -> tuple[str, ...]:
    """Return the kinds of task, architecture and trainer without ``Config``, and the name of the data split."""
    parts = (config.task_config, config.architecture_config, config.trainer_config)
    return (*(type(part).__name__.removesuffix("Config") for part in parts), config.datasplit_config.name)
