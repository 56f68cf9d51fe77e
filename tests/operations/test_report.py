"""Reports: one file that shows everything and loads nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

import dacapo
from dacapo.cli import cli
from dacapo.errors import ConfigError, ConfigNotFoundError
from dacapo.experiments.run import Run
from dacapo.options import DaCapoConfig
from dacapo.store.create_store import create_stats_store
from dacapo.validate import validate_run
from tests.helpers.pages import HOSTILE, store_run
from tests.helpers.runs import stored_run

EVIL = HOSTILE.replace("/", "")


class Elements(HTMLParser):
    """The elements of a page, with what begins and ends checked to match."""

    VOID = ("meta", "link", "img", "input", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def test_a_validated_run(options: DaCapoConfig, tmp_path: Path) -> None:
    run = stored_run(tmp_path)
    validate_run(Run(run.config, load_starter_model=False), 1)
    path = dacapo.report(run.name, output=tmp_path / "report.html")
    page = Elements(path.read_text())
    titles = [picture["alt"].split(":")[0] for picture in page.all("img")]
    assert titles == ["Raw", "Truth", "Prediction at iteration 1", "Best voi, iteration 1"]
    assert all(picture["src"].startswith("data:image/png;base64,") for picture in page.all("img"))
    assert "iteration 1 with" in path.read_text()
    assert path.stat().st_size < 200_000


def test_several_runs(options: DaCapoConfig, tmp_path: Path) -> None:
    for number, name in enumerate(("first", "second", EVIL)):
        store_run(tmp_path, name, 40 - number, learning_rate=0.1 / (number + 1))
    path = dacapo.report("first", "second", EVIL, "first", output=tmp_path / "deep" / "report.html")
    text = path.read_text()
    page = Elements(text)
    # Anchors lead somewhere, and nothing leads out of the file.
    ids = {attributes["id"] for _, attributes in page.found if "id" in attributes}
    links = [attributes["href"] for attributes in page.all("a")]
    assert links
    assert all(link.startswith("#") and link[1:] in ids for link in links)
    assert not page.all("link")
    assert page.all("script") == [{}]
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//""", text)
    assert "url(" not in text
    assert sum(name == "section" for name, _ in page.found) == 4
    assert text.count("best of these") == 1
    assert "trainer_config.learning_rate" in text
    # A hostile name stays text; a checkpoint that is missing is said to be.
    assert not [a for a in page.all("img") if a["src"] == "x"]
    assert "not predicted" in text


def test_what_is_missing_is_an_error(options: DaCapoConfig, tmp_path: Path) -> None:
    store_run(tmp_path, "first")
    with pytest.raises(ConfigNotFoundError, match="did you mean 'first'"):
        dacapo.report("furst")
    with pytest.raises(ConfigError, match="at least one"):
        dacapo.report()
    with pytest.raises(ConfigError, match="known are voi"):
        dacapo.report("first", criterion="dice", output=tmp_path / "report.html")


def test_a_run_that_has_not_begun(options: DaCapoConfig, tmp_path: Path) -> None:
    store_run(tmp_path, "first", 0)
    create_stats_store().delete_validation_scores("first")
    path = dacapo.report("first", output=tmp_path / "report.html")
    assert "Nothing recorded yet" in path.read_text()
    assert len(Elements(path.read_text()).all("img")) == 2


def test_the_command(options: DaCapoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store_run(tmp_path, "first")
    store_run(tmp_path, "second")
    done = CliRunner().invoke(cli, ["report", "first", "--no-predict"])
    assert (done.exit_code, done.output.strip()) == (0, "first.html")
    done = CliRunner().invoke(cli, ["report", "first", "second", "--no-predict", "-c", "voi_merge"])
    assert done.output.strip() == "runs.html"
    assert "voi_merge with the best parameters" in Path("runs.html").read_text()
