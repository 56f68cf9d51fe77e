"""Print how long the package takes, beside the plain way, as one table.

python -m benchmarks.run              all cases
python -m benchmarks.run LSD VOI      those with such a name
python -m benchmarks.run --quick      small sizes, to see that all works
python -m benchmarks.run --original PYTHON    beside the original too, see benchmarks/original/README.md
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from dacapo.utils.progress import progress

from . import batches, imports, peer, reading, records, scores, targets, training, volumes
from .harness import Case, Setting, Timing, WrongResultError, machine, measure, table

CASES: dict[str, Callable[[Setting], Case]] = {
    name: build
    for group in (targets, reading, batches, training, volumes, scores, records, imports)
    for name, build in group.CASES.items()
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases that the arguments name; return 1 if a result is wrong."""
    parser = argparse.ArgumentParser(prog="benchmarks.run", description="Time the package beside the plain way.")
    parser.add_argument("names", metavar="NAME", nargs="*", help="part of the name of a case; all without")
    parser.add_argument("--quick", action="store_true", help="small sizes and few repetitions")
    parser.add_argument("--original", metavar="PYTHON", help="interpreter of an environment with the original")
    options = parser.parse_args(arguments)
    chosen = [name for name in CASES if not options.names or any(n.lower() in name.lower() for n in options.names)]
    if not chosen:
        parser.error(f"no case has such a name; there are: {'; '.join(CASES)}")
    about = machine()
    if options.quick:
        about.append("sizes       smaller than those in the names, so times and ratios mean nothing")
    timings, wrong = [], []
    for name in progress(chosen, desc="benchmarks", unit="case"):
        try:
            timings.append(run_case(name, options.quick))
        except WrongResultError as error:
            wrong.append(str(error))
    original = peer.timings(options.original, chosen, options.quick) if options.original else None
    print("\n".join([*about, "", table(timings, original), *wrong]))
    return 1 if wrong else 0


def run_case(name: str, quick: bool) -> Timing:
    """Build a case in a folder of its own, and time it."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        case = CASES[name](Setting(quick, Path(folder), stack))
        return measure(name, case, seconds=0.2, least=2) if quick else measure(name, case)


if __name__ == "__main__":
    sys.exit(main())
