"""The benchmark of training on a GPU runs anywhere, and compares two ways to do the same."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu import QUICK, Result, Variant, bare_loop, main, make_run, variants, watched, write_dataset
from tests.helpers.processes import wait_until

CPU = torch.device("cpu")
ONE = attrs.evolve(QUICK, fetchers=1)


def test_quick_run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "QUICK", attrs.evolve(ONE, warm_up=1, iterations=1))
    assert main(["--device", "cpu", "--quick"]) == 0
    about, table = capsys.readouterr().out.split("\n\n")
    assert "device      CPU" in about
    header, *rows = table.splitlines()
    assert header.split("  ")[0] == "precision"
    assert [" ".join(row.split()[:3]) for row in rows] == [
        "fp32 no no",
        "fp32 no yes",
        "tf32 no no",
        "tf32 no yes",
        "bf16 no yes",
    ]
    assert all(row.count("not measured") == 2 for row in rows)


@pytest.mark.parametrize("variant", [Variant("fp32", False, False), Variant("bf16", False, True)])
def test_the_bare_loop_does_what_the_trainer_does(tmp_path: Path, variant: Variant) -> None:
    dataset = write_dataset(tmp_path, 2 * ONE.edge)
    run, bare = make_run(ONE, variant), make_run(ONE, variant)
    run.trainer.build_batch_provider([dataset], run.model, run.task)
    with run.trainer:
        batch = run.trainer.next_batch()
        tensors = [torch.as_tensor(values) for values in (batch.raw, batch.target, batch.weight)]
        list(run.trainer.iterate(1, run.model, run.optimizer, CPU))
    before = {name: values.clone() for name, values in bare.model.state_dict().items()}
    bare_loop(bare, variant, tensors, CPU)(1)
    expected = run.model.state_dict()
    for name, values in bare.model.state_dict().items():
        torch.testing.assert_close(values, expected[name])
    assert any(not torch.equal(values, before[name]) for name, values in bare.model.state_dict().items())


def test_all_variants() -> None:
    found = list(variants([False, True]))
    assert len(found) == len(set(found)) == 10
    assert Variant("bf16", True, False) not in found


def test_utilization_is_what_the_tool_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        '#!/bin/sh\n[ "$1" = --id=GPU-abc ] && printf "80\\n90\\n[N/A]\\n"\ntouch "$0.done"\nexec sleep 60\n'
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="abc"))
    with watched(torch.device("cuda")) as percents:
        wait_until((tmp_path / "nvidia-smi.done").exists)
    assert percents == [80, 90]
    with watched(CPU) as percents:
        pass
    assert percents == []


def test_a_row_says_what_was_not_measured() -> None:
    row = Result(0.2, 0.19, 7.5, None, None).row(Variant("bf16", True, True))
    assert row == ["bf16", "yes", "yes", "200", "190", "0.950", "7.50", "not measured", "not measured"]
    assert Result(0.2, 0.19, 7.5, 97.6, 3 << 30).row(Variant("fp32", False, False))[-2:] == ["98%", "3.0 GB"]
