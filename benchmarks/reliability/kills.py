"""Kill work at random moments, or fill its disk and the like, and compare what it leaves with undisturbed work.

    python -m benchmarks.reliability.kills                          some 200 kills of all kinds of work
    python -m benchmarks.reliability.kills --kills 20 --only apply  20 of one kind
    python -m benchmarks.reliability.kills --causes "full disk" "clock set back"

Each kind of work runs in a child process that is killed (SIGKILL) after a random time, and again in a new one until it
has ended by itself. After each kill another process opens everything and compares it with what the work had reported as
saved. In the end the result must be that of work that nobody disturbed. Then the next round begins, with a new folder.
Other causes take the place of kills. Of those that prevent the work from writing, it must say so with an error of the
package; then the cause is removed, and the same work goes on.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from dacapo.errors import DacapoError
from dacapo.utils.text_table import text_table

from .block_writers import BLOCK_WRITERS
from .causes import CAUSES, Cause, ClockBack, Kill, start_with_own_clock
from .children import Child, in_child, start
from .writers import WRITERS, Writer

WORK: dict[str, type[Writer]] = {**WRITERS, **BLOCK_WRITERS}
REFUSED = "refused: "
PATIENCE = 600.0
"""Seconds after which work that can neither go on nor ends counts as hanging."""


@attrs.define
class Tally:
    """What became of one kind of work under one cause.

    Attributes:
        cause: The cause.
        name: The kind of work.
        seconds: The shortest time that the work took when nothing befell it.
        rounds: Number of times that it was brought to its end.
        struck: Number of times that the cause befell it.
        refused: How often the work ended with an error of the package.
        lost: What was reported as saved and is not there, cannot be opened or cannot be resumed; and other errors.
        differing: Results that are not those of undisturbed work.
    """

    cause: str
    name: str
    seconds: float = 0.0
    rounds: int = 0
    struck: int = 0
    refused: int = 0
    lost: list[str] = attrs.field(factory=list)
    differing: list[str] = attrs.field(factory=list)


def undisturbed(kind: type[Writer], folder: Path) -> tuple[Any, float]:
    """Return the result of work that nobody disturbs, and its seconds."""
    folder.mkdir()
    log = folder.with_suffix(".log")
    in_child(lambda: kind(folder).prepare(), log)
    begun = time.monotonic()
    in_child(lambda: kind(folder).work(lambda number: None), log)
    return in_child(lambda: kind(folder).result(), log), time.monotonic() - begun


class Round:
    """Work in one folder that is disturbed until it has ended.

    Args:
        kind: The work.
        cause: What befalls it.
        folder: Where it is done; made and, for some causes, removed.
        dice: Draws the moments.
        tally: Takes what is found.
    """

    def __init__(self, kind: type[Writer], cause: Cause, folder: Path, dice: random.Random, tally: Tally) -> None:
        self.kind, self.cause, self.folder, self.dice, self.tally = kind, cause, folder, dice, tally
        self.log = folder.with_suffix(".log")
        self.reported = -1

    def result(self, most: int) -> Any:
        """Disturb the work up to a number of times, let it end, and return its result; None if it cannot go on."""
        with self.cause.place(self.folder):
            in_child(lambda: self.kind(self.folder).prepare(), self.log)
            for number in range(most + 1):
                begun, child = time.monotonic(), start(self._work, self.log)
                ended = child.wait(self.dice.uniform(0.02, 1.0) * self.tally.seconds if number < most else PATIENCE)
                if ended and number == 0:
                    self.tally.seconds = min(self.tally.seconds, time.monotonic() - begun)
                strikes = not ended and number < most
                if strikes:
                    self.tally.struck += 1
                    self.cause.begin(child, self.folder, self.dice)
                    ended = child.wait(PATIENCE)
                has_hung = not ended
                code = child.end(9 if not ended else None)
                if not self._is_in_order(child, code, strikes, has_hung):
                    return None
                if code == 0:
                    break
            self.tally.rounds += 1
            return in_child(lambda: self.kind(self.folder).result(), self.log)

    def _work(self, tell: Callable[[str], None]) -> None:
        self.cause.limit_child()
        try:
            self.kind(self.folder).work(lambda number: tell(str(number)))
        except DacapoError as error:
            tell(REFUSED + str(error).replace("\n", " "))
            raise

    def _is_in_order(self, child: Child, code: int, was_struck: bool, has_hung: bool) -> bool:
        """Return whether work that has ended lost nothing, after removing what befell it."""
        refused = [line for line in child.lines if line.startswith(REFUSED)]
        self.reported = max([self.reported, *(int(line) for line in child.lines if line not in refused)])
        where = f"{self.folder}: strike {self.tally.struck}"
        try:
            if was_struck and self.cause.is_readable:
                self._check()
        except AssertionError as error:
            self.tally.lost.append(f"{where}: before the cause was removed: {error}")
            return False
        finally:
            if was_struck:
                self.cause.end(self.folder)
        if has_hung:
            self.tally.lost.append(f"{where}: hangs")
            return False
        may_fail = was_struck and (self.cause.ends_work or (self.cause.is_error and bool(refused)))
        if code != 0 and not may_fail:
            self.tally.lost.append(f"{where}: ended with {code}: {self.log.read_text()[-3000:]}")
            return False
        self.tally.refused += bool(refused)
        try:
            self._check()
        except AssertionError as error:
            self.tally.lost.append(f"{where}: {error}")
            return False
        return True

    def _check(self) -> None:
        in_child(lambda: self.kind(self.folder).check(self.reported), self.log)


def disturb(cause: Cause, name: str, number: int, folder: Path, seed: int, each: int = 6) -> Tally:
    """Disturb one kind of work a number of times, up to ``each`` times per round."""
    kind, tally, dice = WORK[name], Tally(cause.name, name), random.Random(f"{name} {seed}")
    expected, tally.seconds = undisturbed(kind, folder / "undisturbed")
    while tally.struck < number:
        place = folder / f"round_{seed}_{tally.rounds + len(tally.lost)}"
        found = Round(kind, cause, place, dice, tally).result(dice.randint(1, each))
        if found is not None and found != expected:
            names = [key for key in {*expected, *found} if expected.get(key) != found.get(key)]
            tally.differing.append(f"{place}: {', '.join(sorted(names))}")
        if len(tally.lost) > 5:
            break
    return tally


def main(arguments: Sequence[str] | None = None) -> None:
    """Disturb, and print the table; the exit code is 1 if something was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="number of kills of each kind of work")
    parser.add_argument("--only", choices=[*WORK], nargs="*", default=[*WORK], help="kinds of work")
    parser.add_argument("--causes", choices=[*CAUSES], nargs="*", default=[Kill.name], help="what befalls it")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments")
    parser.add_argument("--keep", type=Path, help="empty folder to keep everything in")
    chosen = parser.parse_args(arguments)
    if ClockBack.name in chosen.causes:
        start_with_own_clock()
    tallies = []
    with tempfile.TemporaryDirectory(prefix="kills_") as temporary:
        base = chosen.keep or Path(temporary)
        for cause in chosen.causes:
            for name in chosen.only:
                folder = base / f"{cause} {name}".replace(" ", "_")
                folder.mkdir(parents=True)
                tallies.append(tally := disturb(CAUSES[cause](), name, chosen.kills, folder, chosen.seed))
                print(
                    f"{cause}, {name}: {tally.struck}, {tally.refused} refused, {len(tally.lost)} lost, "
                    f"{len(tally.differing)} differ",
                    flush=True,
                )
                for problem in (*tally.lost, *tally.differing):
                    print("   ", problem, flush=True)
    numbers = [(t.struck, t.refused, t.rounds, len(t.lost), len(t.differing)) for t in tallies]
    totals = [sum(column) for column in zip(*numbers, strict=True)]
    rows = [[t.cause, t.name, *map(str, row)] for t, row in zip(tallies, numbers, strict=True)]
    header = ("cause", "work", "times", "errors", "brought to the end", "losses", "other results")
    print(text_table(header, [*rows, ["all", "", *map(str, totals)]]))
    sys.exit(1 if totals[3] or totals[4] else 0)


if __name__ == "__main__":
    main()
