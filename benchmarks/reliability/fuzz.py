"""Give strange input to every reader, and find what is not refused by an error of the package.

    python -m benchmarks.reliability.fuzz --inputs 100000
    python -m benchmarks.reliability.fuzz --inputs 2000 --only "zarr2 raw/.zarray"

Inputs are good ones with random changes, see :mod:`.mutations`; the same seed gives the same inputs. They are read in
child processes whose memory is limited. A finding is an exception that is not in :mod:`dacapo.errors`, an input that
takes longer than ten seconds, the end of the process, or more memory than 1.5 GB beyond what it holds at first.
"""

from __future__ import annotations

import argparse
import collections
import json
import logging
import os
import random
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from dacapo.errors import DacapoError
from dacapo.utils.text_table import text_table

from . import preload  # noqa: F401  # so that forked processes need not
from .kills import in_child, start
from .readers import GROUPS, Reader

SECONDS = 10
MEMORY = 3 << 29
PER_CHILD = 500


class TooLong(BaseException):
    """An input takes too long."""


@attrs.define
class Found:
    """What a reader did.

    Attributes:
        name: The reader.
        inputs: Number of inputs.
        accepted: Number of those that were read.
        refused: Number of those refused by an error of the package.
        findings: Number of others by their kind, with one input as an example.
    """

    name: str
    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    findings: dict[str, tuple[int, str]] = attrs.field(factory=dict)

    def note(self, kind: str, example: str) -> None:
        count = self.findings.get(kind, (0, example))[0]
        self.findings[kind] = (count + 1, self.findings.get(kind, (0, example))[1])


def strange(reader: Reader, seed: int, number: int) -> bytes:
    """Return an input of a reader."""
    return reader.mutate(reader.good, random.Random(f"{reader.name} {seed} {number}"))


def judge(reader: Reader, content: bytes) -> str:
    """Read an input, and return "accepted", "refused", or the exception and where it was raised."""

    def stop(*_: object) -> None:
        raise TooLong

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        reader.read(content)
    except DacapoError:
        return "refused"
    except TooLong:
        return f"takes longer than {SECONDS} s"
    except Exception as error:  # noqa: BLE001  # this is what is looked for
        places = [frame for frame in traceback.extract_tb(error.__traceback__) if "/dacapo/" in frame.filename]
        place = f"{Path(places[-1].filename).name}:{places[-1].lineno}" if places else "?"
        return f"{type(error).__name__} at {place}: {str(error)[:100]}"
    finally:
        signal.alarm(0)
    return "accepted"


@attrs.frozen
class Place:
    """A reader that a child process makes: its group, name and relative number of inputs."""

    group: str
    name: str
    weight: float

    def reader(self, folder: Path) -> Reader:
        """Make the reader, with files in a new folder."""
        place = Path(tempfile.mkdtemp(dir=folder)) / "files"
        return next(one for one in GROUPS[self.group](place) if one.name == self.name)


def places(folder: Path) -> list[Place]:
    """Return all readers. They are made in child processes, since libraries that have threads do not survive a fork."""
    found = []
    for group, make in GROUPS.items():
        names = in_child(
            lambda make=make, group=group: [[r.name, r.weight] for r in make(folder / group)], folder / "log"
        )
        found += [Place(group, *one) for one in names]
    return found


def judge_all(place: Place, folder: Path, seed: int, numbers: range) -> Callable[[Callable[[str], None]], None]:
    """Return work that judges inputs, and tells each verdict, with the input if something was found."""

    def work(tell: Callable[[str], None]) -> None:
        logging.disable()
        warnings.simplefilter("ignore")
        reader = place.reader(folder)
        reader.read(reader.good)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        # Each thread of a library reserves addresses, which are not memory.
        resource.setrlimit(resource.RLIMIT_AS, (size + 2 * MEMORY, size + 2 * MEMORY))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in numbers:
            content = strange(reader, seed, number)
            tell(json.dumps(["", repr(content[:300])]))
            verdict = judge(reader, content)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            if (peak - before) * 1024 > MEMORY:
                verdict, before = f"takes {(peak - before) >> 10} MB", peak
            tell(json.dumps([verdict, ""]))

    return work


def fuzz(place: Place, inputs: int, seed: int, folder: Path) -> Found:
    """Give inputs to a reader."""
    found, number = Found(place.name), 0
    while number < inputs:
        numbers = range(number, min(inputs, number + PER_CHILD))
        child = start(judge_all(place, folder, seed, numbers), folder / "log")
        is_stuck = not child.wait(SECONDS * 6 + len(numbers))
        code = child.end(signal.SIGKILL if is_stuck else None)
        lines = [json.loads(line) for line in child.lines]
        if not lines or (len(lines) < 2 * len(numbers) and len(lines) % 2 == 0):
            raise RuntimeError(f"{place} ended by itself: {(folder / 'log').read_text()[-3000:]}")
        if len(lines) < 2 * len(numbers):
            lines.append(["hangs" if is_stuck else f"ends the process with {code}", ""])
        for (_, example), (verdict, _) in zip(lines[::2], lines[1::2], strict=True):
            found.inputs += 1
            if verdict in ("accepted", "refused"):
                setattr(found, verdict, getattr(found, verdict) + 1)
            else:
                found.note(verdict, example)
        number += len(lines) // 2
    return found


def fuzz_all(inputs: int, seed: int, folder: Path, only: Sequence[str] = ()) -> list[Found]:
    """Give a number of inputs, in all, to all readers or to those of some names."""
    chosen = [place for place in places(folder) if not only or place.name in only]
    total = sum(place.weight for place in chosen)
    return [fuzz(place, -int(-inputs * place.weight // total), seed, folder) for place in chosen]


def main(arguments: Sequence[str] | None = None) -> None:
    """Fuzz, and print the table; the exit code is 1 if something was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000, help="number of inputs of all readers together")
    parser.add_argument("--seed", type=int, default=0, help="seed of the changes")
    parser.add_argument("--only", nargs="*", default=[], help="names of readers")
    chosen = parser.parse_args(arguments)
    os.environ.pop("DACAPO_OPTIONS_FILE", None)
    with tempfile.TemporaryDirectory(prefix="fuzz_") as temporary:
        found = fuzz_all(chosen.inputs, chosen.seed, Path(temporary), chosen.only)
    for one in found:
        for kind, (count, example) in one.findings.items():
            print(f"{one.name}: {count} x {kind}\n    {example}")
    sums: collections.Counter[str] = collections.Counter()
    rows = []
    for one in found:
        numbers = {
            "inputs": one.inputs,
            "read": one.accepted,
            "refused": one.refused,
            "found": one.inputs - one.accepted - one.refused,
        }
        sums.update(numbers)
        rows.append([one.name, *map(str, numbers.values())])
    print(text_table(("reader", *sums), [*rows, ["all", *map(str, sums.values())]]))
    sys.exit(1 if sums["found"] else 0)


if __name__ == "__main__":
    main()
