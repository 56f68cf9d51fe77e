"""Print how long the package takes beside other packages, as one table.

    python -m benchmarks.alternatives            # all
    python -m benchmarks.alternatives MONAI VOI  # comparisons with such a name
    python -m benchmarks.alternatives --quick    # small sizes, to see that all works

It needs the packages of ``benchmarks/alternatives/requirements.txt``, in an environment of their own:

    python3.11 -m venv /tmp/alternatives
    /tmp/alternatives/bin/pip install "$(grep '^torch==' constraints.txt)"
    /tmp/alternatives/bin/pip install -c constraints.txt -e '.[test]' -r benchmarks/alternatives/requirements.txt
    /tmp/alternatives/bin/pip uninstall -y torchvision  # of another version of PyTorch; nothing here needs it

Both ways run in turn, in one process and with one thread, after their results were compared. The last column is the
time that the machine needs at least by the time of ours: for networks that of the products of matrices at the measured
rate, for other work that of moving its arrays through memory once, at the measured rate of a copy.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path

from dacapo.utils.progress import progress

from ..harness import Setting, Timing, WrongResultError, machine, measure
from . import batches, limits, prediction, reading, scores
from .comparison import Comparison, table

OTHERS = (
    "batchgeneratorsv2",
    "dask",
    "monai",
    "nnunetv2",
    "scikit-image",
    "tensorstore",
    "torchio",
    "torchmetrics",
)
CASES: dict[str, Callable[[Setting], Comparison]] = {
    **{f"batches {name}": partial(batches.batches, other=name, make=make) for name, make in batches.OTHERS.items()},
    **{
        f"prediction {name}": partial(prediction.prediction, other=name, make=make, overlap=overlap)
        for name, (make, overlap) in prediction.OTHERS.items()
    },
    "VOI scikit-image": partial(scores.instances, name="VOI"),
    "adapted Rand error scikit-image": partial(scores.instances, name="adapted Rand error"),
    "Hausdorff scikit-image": scores.by_scikit_image,
    "overlap torchmetrics": scores.by_torchmetrics,
    "overlap and distance MONAI": scores.by_monai,
    **{f"reading {name}": partial(reading.reading, other=name, opened=o) for name, o in reading.OTHERS.items()},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparisons that the arguments name; return 1 if a result is wrong."""
    parser = argparse.ArgumentParser(prog="benchmarks.alternatives", description="Time the package beside others.")
    parser.add_argument("names", metavar="NAME", nargs="*", help="part of the name of a comparison; all without")
    parser.add_argument("--quick", action="store_true", help="small sizes and few repetitions")
    options = parser.parse_args(arguments)
    chosen = [name for name in CASES if not options.names or any(n.lower() in name.lower() for n in options.names)]
    if not chosen:
        parser.error(f"no comparison has such a name; there are: {'; '.join(CASES)}")
    warnings.simplefilter("ignore")  # of the others; ours are tested elsewhere
    copied, multiplied = limits.bandwidth() / 1e9, limits.multiply_rate() / 1e9
    about = [
        *machine(),
        f"beside      {', '.join(f'{name} {version(name)}' for name in OTHERS)}",
        f"limits      memory {copied:.1f} GB/s, products of matrices {multiplied:.0f} GFLOP/s",
    ]
    rows: list[tuple[Comparison, Timing]] = []
    wrong = []
    for name in progress(chosen, desc="comparisons", unit="comparison"):
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            comparison = CASES[name](Setting(options.quick, Path(folder), stack))
            try:
                timing = measure(name, comparison.case, **({"seconds": 0.2, "least": 2} if options.quick else {}))
            except WrongResultError as error:
                wrong.append(str(error))
            else:
                rows.append((comparison, timing))
    print("\n".join([*about, "", table(rows), *wrong]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
