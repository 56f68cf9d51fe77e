"""Show all that is stored of one run, apart from its arrays and losses."""

from __future__ import annotations

from typing import Any

import attrs

from dacapo.errors import DacapoError
from dacapo.experiments.score_book import Best
from dacapo.experiments.training_session import SESSION_HEADER, session_rows, sessions_of
from dacapo.runs.listing import RunSummary, summary_of
from dacapo.runs.sizes import size_of
from dacapo.store.converter import to_plain
from dacapo.store.create_store import create_weights_store
from dacapo.store.run_folder import PARTS, run_folder
from dacapo.store.yaml_files import dump_yaml
from dacapo.utils.memory import format_size
from dacapo.utils.plain_json import without_nan
from dacapo.utils.text_table import text_table
from dacapo.web.catalogue import Catalogue


@attrs.frozen
class RunDetails:
    """A stored run.

    Attributes:
        summary: Its line in the list of runs.
        config: Its config in plain values, None if it cannot be read.
        checkpoints: Iterations with a checkpoint, ascending.
        best: The best checkpoint by each main criterion, on all validation datasets, and on each if there are several.
        sessions: Records of its training sessions, see :mod:`dacapo.experiments.training_session`.
        sizes: Bytes of each part of its folder.
    """

    summary: RunSummary
    config: dict[str, Any] | None
    checkpoints: list[int]
    best: list[Best]
    sessions: list[dict[str, Any]]
    sizes: dict[str, int]

    def as_plain(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return without_nan(  # type: ignore[no-any-return]
            {
                **self.summary.as_plain(),
                "checkpoints": self.checkpoints,
                "best_by_criterion": [attrs.asdict(best) for best in self.best],
                "sizes": self.sizes,
                "sessions": self.sessions,
                "config": self.config,
            }
        )

    def __str__(self) -> str:
        """Return a page of text: facts, best scores, training sessions with versions and machine, and the config."""
        parts = [_lines(self._facts())]
        if self.best:
            header = ["best by", "data", "score", "iteration", "parameters"]
            rows = [[b.criterion, b.dataset, f"{b.value:.4g}", str(b.iteration), b.parameters] for b in self.best]
            parts.append(text_table(header, rows))
        if self.sessions:
            parts.append(text_table(SESSION_HEADER, session_rows(self.sessions)))
            parts.append(_lines(_environment(self.sessions[-1])))
        if self.config is not None:
            parts.append(dump_yaml(self.config).rstrip())
        return "\n\n".join(parts)

    def _facts(self) -> list[list[str]]:
        one = self.summary
        loss = "" if one.loss is None else f", last loss {one.loss:.4g}"
        facts = {
            "run": one.name,
            "status": one.status,
            "trained": f"{one.progress} iterations{one.early}{loss}",
            "validated": "" if one.validated is None else f"until iteration {one.validated}",
            "checkpoints": ", ".join(map(str, self.checkpoints[-20:])) or "none",
            "changed": one.date,
            "locked by": "" if one.holder is None else f"{one.holder}, being {one.holder.use}",
            "stored": ", ".join(f"{PARTS[part]} {format_size(size)}" for part, size in self.sizes.items()),
            "problem": " ".join(one.problem.split()),
        }
        return [[name, value] for name, value in facts.items() if value]


def show_run(name: str) -> RunDetails:
    """Return all that is stored of a run, apart from its arrays and losses.

    Raises:
        ConfigNotFoundError: If no run of that name is stored.
        StorageError: If a record or a folder cannot be read.
    """
    runs = Catalogue()
    runs.configs.run_config_state(name)  # raises an error if it is not stored
    config, best = None, []
    try:
        config = to_plain(runs.config(name))
        book = runs.scores(name)
        criterion = book.run.task.evaluation_scores.default_criterion
        best = book.best_of_each(criterion) if criterion is not None else []
    except DacapoError:  # the summary says why
        pass
    folder = run_folder(name, runs.options)
    sizes = {part: size_of(folder / part) for part in PARTS if (folder / part).exists()}
    checkpoints = create_weights_store(runs.options).iterations(name)
    return RunDetails(summary_of(runs, name), config, checkpoints, best, sessions_of(name, runs.options), sizes)


def _environment(session: dict[str, Any]) -> list[list[str]]:
    machine, versions = session["machine"], session["versions"]
    cores = f"{machine.get('usable_cores')} of {machine.get('cores')} cores, threads of torch: {machine.get('threads')}"
    return [
        ["seed", str(session["seeds"].get("run"))],
        ["machine", f"{machine.get('system')}, {machine.get('cpu')}, {cores}"],
        ["GPUs", ", ".join(map(str, machine["gpus"])) or "none"],
        ["versions", ", ".join(f"{name} {version}" for name, version in versions.items())],
        ["inputs", ", ".join(f"{one['place']} {one['sha256'][:12]}" for one in session["inputs"])],
    ]


def _lines(rows: list[list[str]]) -> str:
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)
