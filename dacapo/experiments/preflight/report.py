"""The findings of a look at a run and its data, and how they read."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from dacapo.errors import ConfigError
from dacapo.utils.text_table import text_table

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")


@attrs.frozen
class Finding:
    """Something worth knowing before training.

    Attributes:
        level: ``error`` for what cannot work, ``warning`` for what is odd, ``note`` for an estimate or a detail.
        check: Name of the check.
        field: Path to the field of the config to change, empty if there is none.
        message: A sentence with the finding and the remedy.
    """

    level: Level
    check: str
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


@attrs.frozen
class Sampled:
    """How much of an array was read.

    Attributes:
        field: Path to the array in the config.
        voxels: Number of voxels read.
        of: Number of voxels that training or validation may use.
    """

    field: str
    voxels: int
    of: int


@attrs.frozen
class Report:
    """The result of a look at a run.

    Attributes:
        findings: All findings, errors first.
        sampled: How much of each array was read.
        seconds: Duration of the look.
    """

    findings: list[Finding]
    sampled: list[Sampled]
    seconds: float

    @classmethod
    def of(cls, findings: list[Finding], sampled: list[Sampled], seconds: float) -> Report:
        """Return a report with the findings ordered by level, each once."""
        once = dict.fromkeys(findings)
        return cls(sorted(once, key=lambda finding: LEVELS.index(finding.level)), sampled, seconds)

    @property
    def errors(self) -> list[Finding]:
        """The findings that keep the run from working."""
        return [finding for finding in self.findings if finding.level == "error"]

    @property
    def warnings(self) -> list[Finding]:
        """The findings that are odd."""
        return [finding for finding in self.findings if finding.level == "warning"]

    def raise_errors(self) -> None:
        """Raise an error that lists all errors, if any.

        Raises:
            ConfigError: If there are errors; the message of each begins with the field to change.
        """
        if self.errors:
            raise ConfigError("; ".join(map(str, self.errors)))

    def as_plain(self) -> dict[str, Any]:
        """Return the report as plain values, for JSON."""
        return {
            "ok": not self.errors,
            "findings": [attrs.asdict(finding) for finding in self.findings],
            "sampled": [attrs.asdict(sampled) for sampled in self.sampled],
            "seconds": round(self.seconds, 3),
        }

    def __str__(self) -> str:
        """Return the findings as a table, and a line that sums them up."""
        rows = [[finding.level, finding.check, finding.field, finding.message] for finding in self.findings]
        table = [text_table(["level", "check", "field", "finding"], rows), ""] if rows else []
        read, of = sum(s.voxels for s in self.sampled), sum(s.of for s in self.sampled)
        looked = f"read {read:,} of {of:,} voxels" if of else "read no voxels"
        counts = f"{len(self.errors)} errors, {len(self.warnings)} warnings"
        return "\n".join([*table, f"{counts}; {looked} in {self.seconds:.1f} s"])
