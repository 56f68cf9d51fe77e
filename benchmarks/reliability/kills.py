"""Kill work at random moments, again and again, and compare what it leaves in the end with undisturbed work.

    python -m benchmarks.reliability.kills                          some 200 kills of all kinds of work
    python -m benchmarks.reliability.kills --kills 20 --only apply  20 of one kind

Each kind of work runs in a child process that is killed (SIGKILL) after a random time, and again in a new one until it
has ended by itself. After each kill another process opens everything and compares it with what the work had reported as
saved. In the end the result must be that of work that nobody disturbed. Then the next round begins, with a new folder.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from dacapo.utils.text_table import text_table

from . import preload  # noqa: F401  # so that forked processes need not
from .writers import WRITERS, Report, Writer


@attrs.define
class Child:
    """A forked process, and the pipe with what it reports."""

    pid: int
    pipe: int
    text: str = ""

    def wait(self, seconds: float) -> bool:
        """Read reports until the process ends, at most for some time; return whether it ended."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self.pipe], [], [], left)[0]:
                content = os.read(self.pipe, 1 << 16)
                if not content:
                    return True
                self.text += content.decode()
        return False

    def end(self, number: int | None = None) -> int:
        """Send a signal, read the rest, and return the exit code."""
        if number is not None:
            os.kill(self.pid, number)
        self.wait(600)
        os.close(self.pipe)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    @property
    def lines(self) -> list[str]:
        return self.text.split("\n")[:-1]


def start(work: Callable[[Callable[[str], None]], object], log: Path) -> Child:
    """Do work in a forked process, which gets a function that reports a line."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return Child(pid, reading)
    code = 1
    try:
        os.setpgid(0, 0)
        os.close(reading)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        work(lambda line: void(os.write(writing, f"{line}\n".encode())))
        code = 0
    except BaseException:  # noqa: BLE001  # it is written to the log, and the exit code tells
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def void(_: object) -> None:
    """Return nothing."""


def in_child(work: Callable[[], Any], log: Path) -> Any:
    """Return what a function returns in a forked process, as JSON holds it.

    Raises:
        AssertionError: If it raised.
    """
    child = start(lambda tell: tell(json.dumps(work())), log)
    if child.end() != 0:
        raise AssertionError(log.read_text()[-3000:])
    return json.loads(child.lines[-1])


@attrs.define
class Tally:
    """What became of one kind of work.

    Attributes:
        name: The kind.
        rounds: Number of times that it was brought to its end.
        kills: Number of kills.
        lost: What was reported as saved and is not there, cannot be opened or cannot be resumed.
        differing: Results that are not those of undisturbed work.
    """

    name: str
    rounds: int = 0
    kills: int = 0
    lost: list[str] = attrs.field(factory=list)
    differing: list[str] = attrs.field(factory=list)


def undisturbed(kind: type[Writer], folder: Path) -> tuple[Any, float]:
    """Return the result of work that nobody disturbs, and its seconds."""
    folder.mkdir()
    log = folder / "log"
    in_child(lambda: kind(folder).prepare(), log)
    begun = time.monotonic()
    in_child(lambda: kind(folder).work(lambda number: None), log)
    return in_child(lambda: kind(folder).result(), log), time.monotonic() - begun


def disturbed(kind: type[Writer], folder: Path, seconds: float, most: int, dice: random.Random, tally: Tally) -> Any:
    """Kill work up to a number of times, let it end, and return its result; None if it cannot go on."""
    folder.mkdir()
    log = folder / "log"
    in_child(lambda: kind(folder).prepare(), log)
    reported, kills = -1, 0

    def tell_all(tell: Callable[[str], None]) -> None:
        report: Report = lambda number: tell(str(number))  # noqa: E731
        kind(folder).work(report)

    while True:
        child = start(tell_all, log)
        ended = child.wait(dice.uniform(0.02, 1.0) * seconds) if kills < most else child.wait(600)
        code = child.end(None if ended else signal.SIGKILL)
        reported = max([reported, *map(int, child.lines)])
        if ended and code == 0:
            break
        if ended:
            tally.lost.append(f"{folder}: could not go on: {log.read_text()[-2000:]}")
            return None
        kills += 1
        tally.kills += 1
        try:
            in_child(lambda known=reported: kind(folder).check(known), log)
        except AssertionError as error:
            tally.lost.append(f"{folder}: after kill {kills}: {error}")
            return None
    tally.rounds += 1
    return in_child(lambda: kind(folder).result(), log)


def kill(name: str, number: int, folder: Path, seed: int, each: int = 6) -> Tally:
    """Kill one kind of work a number of times, up to ``each`` times per round."""
    kind, tally, dice = WRITERS[name], Tally(name), random.Random(f"{name} {seed}")
    expected, seconds = undisturbed(kind, folder / "undisturbed")
    while tally.kills < number:
        place = folder / f"round_{seed}_{tally.rounds + len(tally.lost)}"
        found = disturbed(kind, place, seconds, dice.randint(1, each), dice, tally)
        if found is not None and found != expected:
            names = [key for key in {*expected, *found} if expected.get(key) != found.get(key)]
            tally.differing.append(f"{place}: {', '.join(sorted(names))}")
        if len(tally.lost) > 5:
            break
    return tally


def main(arguments: Sequence[str] | None = None) -> None:
    """Kill, and print the table; the exit code is 1 if something was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="number of kills of each kind of work")
    parser.add_argument("--only", choices=[*WRITERS], nargs="*", default=[*WRITERS], help="kinds of work")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments")
    parser.add_argument("--keep", type=Path, help="empty folder to keep everything in")
    chosen = parser.parse_args(arguments)
    tallies = []
    with tempfile.TemporaryDirectory(prefix="kills_") as temporary:
        base = chosen.keep or Path(temporary)
        for name in chosen.only:
            folder = base / name.replace(" ", "_")
            folder.mkdir(parents=True)
            tallies.append(kill(name, chosen.kills, folder, chosen.seed))
            tally = tallies[-1]
            print(name, tally.kills, "kills", len(tally.lost), "lost", len(tally.differing), "differ", flush=True)
            for problem in (*tally.lost, *tally.differing):
                print("   ", problem, flush=True)
    rows = [[t.name, str(t.kills), str(t.rounds), str(len(t.lost)), str(len(t.differing))] for t in tallies]
    totals = [
        sum(column)
        for column in zip(*((t.kills, t.rounds, len(t.lost), len(t.differing)) for t in tallies), strict=True)
    ]
    rows.append(["all", *map(str, totals)])
    print(text_table(("work", "kills", "brought to the end", "losses", "other results"), rows))
    sys.exit(1 if totals[2] or totals[3] else 0)


if __name__ == "__main__":
    main()
