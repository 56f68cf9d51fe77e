"""How objects look in a notebook and at a prompt."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import attrs
import numpy as np
import pytest
from funlib.geometry import Coordinate

from dacapo.experiments.config import config_class, help_texts
from dacapo.experiments.datasplits.datasets import DummyDataset, DummyDatasetConfig
from dacapo.experiments.datasplits.datasets.arrays import DummyArrayConfig, ZarrArray, ZarrArrayConfig
from dacapo.experiments.datasplits.datasets.arrays.given_values import config_given
from dacapo.experiments.datasplits.datasets.arrays.view import build
from dacapo.experiments.field_help import FIELDS
from dacapo.experiments.run import Run
from dacapo.experiments.starts import Start, StartConfig
from dacapo.experiments.tasks import AffinitiesTask, AffinitiesTaskConfig
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


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("predictor", "AffinitiesPredictor(neighborhood=[(0, 0, 1), (0, 1, 0)], lsds=False"),
        ("loss", "AffinitiesLoss(num_affinities=2, lsds_to_affs_weight_ratio=1)"),
        ("post_processor", "WatershedPostProcessor(offsets=[(0, 0, 1), (0, 1, 0)]"),
        ("evaluator", "InstanceEvaluator(ignore_unlabelled=False)"),
    ],
)
def test_parts_of_a_task_show_their_settings(part: str, text: str) -> None:
    task = AffinitiesTask(AffinitiesTaskConfig(name="a", neighborhood=[Coordinate(0, 0, 1), Coordinate(0, 1, 0)]))
    assert repr(getattr(task, part)).startswith(text)


def test_a_start_names_its_run() -> None:
    assert repr(Start(StartConfig("old", "voi"))) == "Start(run='old', criterion='voi')"


def test_lengths_have_their_unit_and_regions_what_they_count() -> None:
    array = build(config_given(np.zeros((4, 5, 6)), "raw", voxel_size=(40, 5.24, 5.24), unit="nm"))
    made = html_of(array)
    assert "(40, 5.24, 5.24) nm<" in made
    assert "[0:16000, 0:2620, 0:3144] (16000, 2620, 3144) in 0.01 nm<" in made
    pixels = html_of(build(config_given(np.zeros((4, 5, 6)), "raw")))
    assert "(1, 1, 1)<" in pixels
    assert "[0:4, 0:5, 0:6] (4, 5, 6)<" in pixels


def test_a_dataset_counts_its_labels_in_memory() -> None:
    dataset = DummyDataset(DummyDatasetConfig(name="d", raw_config=DummyArrayConfig(name="raw")))
    dataset.gt = build(config_given(np.array([[0, 4, 4], [7, 7, 9]], np.uint32), "labels"))
    made = html_of(dataset)
    assert re.search(r">truth<.*\(2, 3\).*>3<", made)
    (raw, truth) = dataset.rows()
    assert (raw[-1], truth[-1]) == ("", "3")
