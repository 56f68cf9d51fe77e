"""Why jobs of a cluster wait, from the output of the commands that tell it."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence

from dacapo.errors import BlockwiseError

_JOB = re.compile(r"^(\d+)\s")


def ask(command: Sequence[str], none: str = "") -> str:
    """Return the output of a command.

    Args:
        command: A program and its arguments.
        none: Text with which the command fails if it has nothing to tell.

    Raises:
        BlockwiseError: If it cannot be run, fails, or takes half a minute.
    """
    try:
        said = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BlockwiseError(f"{' '.join(command)}: {error}") from error
    if said.returncode != 0 and not (none and none in said.stdout + said.stderr):
        raise BlockwiseError(f"{' '.join(command)}: exit code {said.returncode}: {said.stderr.strip()}")
    return said.stdout


def reasons(text: str) -> dict[str, str]:
    """Return the reason of each job, by id.

    Args:
        text: Lines of ids and reasons, as ``squeue`` prints them, or of ids with a reason in the indented lines that
            follow, as ``bjobs -p`` does.
    """
    found: dict[str, str] = {}
    job = ""
    for line in text.splitlines():
        if match := _JOB.match(line):
            job = match[1]
            found[job] = line[match.end() :].strip()
        elif job and line.startswith((" ", "\t")):
            found[job] = line.strip().rstrip(";")
    return found


def summary(waiting: Iterable[str]) -> str:
    """Return a line about jobs that wait, the most frequent reason first.

    Args:
        waiting: The reason of each.

    >>> summary(["Priority", "Resources", "Priority"])
    '3 jobs wait: Priority (2), Resources (1)'
    """
    counts = Counter(waiting)
    listed = ", ".join(f"{reason} ({count})" for reason, count in counts.most_common())
    return f"{counts.total()} jobs wait: {listed}"
