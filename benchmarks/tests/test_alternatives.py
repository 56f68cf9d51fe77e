"""Comparisons with other packages, as far as those are installed for other tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.alternatives import limits
from benchmarks.alternatives.__main__ import CASES, main

HERE = ["VOI scikit-image", "reading zarr", "reading TensorStore"]


def test_quick_run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.alternatives.__main__.OTHERS", ("scikit-image", "tensorstore"))
    assert main(["--quick", *HERE]) == 0
    rows = capsys.readouterr().out.split("\n\n")[1].splitlines()[1:]
    assert len(rows) == len(HERE)


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["nonsense"])
    assert "MONAI" in capsys.readouterr().err


def test_the_documentation_shows_every_comparison() -> None:
    page = (Path(__file__).parents[2] / "docs" / "performance.md").read_text(encoding="utf-8")
    (shown,) = [part for part in page.split("\n## ") if part.startswith("Beside other packages")]
    (table,) = [block for block in shown.split("```") if block.startswith("text")]
    rows = [line for line in table.split("\nwork ")[1].splitlines()[1:] if line]
    assert len(rows) == len(CASES)


def test_the_limit_of_a_network_is_that_of_its_products() -> None:
    model = torch.nn.Conv3d(2, 3, 3)
    operations = 2 * (2 * 3**3) * 3 * 6**3  # each product of the output is one multiplication and one addition
    assert limits.seconds_of_network(model, (1, 2, 8, 8, 8)) == pytest.approx(operations / limits.multiply_rate())
