"""How objects look in a notebook and at a prompt."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import attrs
import numpy as np
import pytest

from dacapo.experiments.config import config_class, help_texts
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray, ZarrArrayConfig
from dacapo.experiments.field_help import FIELDS
from dacapo.experiments.run import Run
from dacapo.experiments.training_iteration_stats import TrainingIterationStats
from dacapo.experiments.training_stats import TrainingStats
from dacapo.experiments.validation_iteration_scores import ValidationIterationScores
from dacapo.options import DaCapoConfig
from dacapo.utils.html import html_table
from tests.helpers.configs import CONCRETE
from tests.helpers.runs import dummy_run_config
from tests.helpers.volumes import write_array


@pytest.fixture
def run(options: DaCapoConfig) -> Run:
    return Run(dummy_run_config(name="a <run>"))


def html_of(shown: object) -> str:
    made: str = shown._repr_html_()  # type: ignore[attr-defined]
    assert made.count("<table") == made.count("</table>") == 1
    return made


def test_everything_is_escaped() -> None:
    nasty = "<script>alert('&')</script>"
    made = html_table(nasty, [nasty], [[nasty]], nasty)
    assert "<script" not in made
    assert made.count("&lt;script&gt;") == 4


@pytest.mark.parametrize("config", CONCRETE)
def test_help_of_a_config_explains_each_field_once(config: str) -> None:
    cls = config_class(config)
    text = inspect.getdoc(cls) or ""
    assert text.count(f"{FIELDS}\n") == (1 if attrs.fields(cls) else 0)
    for name, meaning in help_texts(cls).items():
        field = name.lstrip("_")  # the name of the argument
        assert meaning
        assert re.search(rf"^    {field}\b.*\n        {re.escape(meaning)}$", text, re.MULTILINE), field
    assert not text.startswith(FIELDS)


def test_a_config_shows_value_default_and_meaning() -> None:
    made = html_of(ZarrArrayConfig(name="<b>", file_name=Path("a.zarr"), dataset="raw"))
    for part in ("&lt;b&gt;", "required", "a.zarr", help_texts(ZarrArrayConfig)["dataset"].split("'")[0].split("<")[0]):
        assert part in made
    assert "<b>" not in made


def test_an_array_shows_its_place_and_type(tmp_path: Path) -> None:
    array = ZarrArray.open_from_array_identifier(write_array(tmp_path / "a.zarr", "raw", np.zeros((4, 5, 6), np.uint8)))
    made = html_of(array)
    for part in ("z y x", "(4, 5, 6)", "uint8", "nm", str(array.roi), "a.zarr"):
        assert part in made


def test_a_run_and_its_parts(run: Run) -> None:
    made = html_of(run)
    assert "a &lt;run&gt;" in made
    assert "0 of 20" in made
    for part in (run.task, run.trainer, run.architecture):
        assert type(part).__name__ in made
        assert type(part).__name__ in html_of(part)
    assert repr(run.task).startswith("DummyTask(predictor=DummyPredictor, loss=DummyLoss")
    assert repr(run.trainer).startswith("DummyTrainer(")


def test_records_are_short_however_long_they_are(run: Run) -> None:
    stats = TrainingStats([TrainingIterationStats(i, 1 / (i + 1), 0.5) for i in range(10_000)])
    assert repr(stats) == "TrainingStats(iterations 0 to 9999, last loss 0.0001)"
    assert html_of(stats).count("<tr>") == 11
    assert repr(TrainingStats()) == "TrainingStats(empty)"
    html_of(TrainingStats())


def test_scores_show_the_best_parameters_of_the_latest_validation(run: Run) -> None:
    scores = run.validation_scores
    assert "nothing validated yet" in html_of(scores)
    shape = (len(scores.datasets), len(scores.parameters), len(scores.criteria))
    values = np.arange(np.prod(shape), dtype=float).reshape(shape)
    scores.add_iteration_scores(ValidationIterationScores(iteration=10, scores=values.tolist()))
    made = html_of(scores)
    assert "iteration 10" in made
    for dataset in scores.datasets:
        assert dataset.name in made
    assert repr(scores).startswith("ValidationScores(1 iterations")
