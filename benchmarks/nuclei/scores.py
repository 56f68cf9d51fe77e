"""Scores of a segmentation of nuclei, the same for all programs."""

from __future__ import annotations

import attrs
import numpy as np

from dacapo.experiments.tasks.evaluators.instance_evaluator import voi
from dacapo.utils.binary_metrics import BinaryComparison, dice, jaccard
from dacapo.utils.contingency import ContingencyTable

SCORES = ("split", "merge", "VOI", "F1", "AP", "AJI", "Dice", "IoU")


@attrs.frozen
class Matches:
    """Nuclei and segments that belong together.

    Attributes:
        found: Pairs whose intersection is more than half of their union, so that each nucleus has at most one segment.
        nuclei: Number of nuclei.
        segments: Number of segments.
        intersection: Pixels of the nuclei that their best segments cover, added up.
        union: Pixels of the nuclei or of their best segments, and of all segments that are the best of no nucleus.
    """

    found: int
    nuclei: int
    segments: int
    intersection: int
    union: int

    @property
    def f1(self) -> float:
        """Share of nuclei and segments that belong together."""
        return 2 * self.found / (self.nuclei + self.segments)

    @property
    def precision(self) -> float:
        """Pairs by pairs, missed nuclei and superfluous segments: the "average precision" of the Data Science Bowl."""
        return self.found / (self.nuclei + self.segments - self.found)

    @property
    def aggregated_jaccard(self) -> float:
        """Kumar et al., "A dataset and a technique for generalized nuclear segmentation", IEEE TMI 36 (2017)."""
        return self.intersection / self.union


def matches(segments: np.ndarray, labels: np.ndarray) -> Matches:
    """Match segments with nuclei; 0 is background in both."""
    table = ContingencyTable.of(segments, labels)
    segment_sizes, nucleus_sizes = _sizes(segments), _sizes(labels)
    best: dict[int, tuple[float, int, int, int]] = {}
    found = 0
    for segment, nucleus, both in zip(*(a.tolist() for a in (table.first, table.second, table.counts)), strict=True):
        if not segment or not nucleus:
            continue
        union = segment_sizes[segment] + nucleus_sizes[nucleus] - both
        found += 2 * both > union
        best[nucleus] = max(best.get(nucleus, (0.0, 0, 0, 0)), (both / union, both, union, segment))
    used = {segment for *_, segment in best.values()}
    intersection = sum(both for _, both, _, _ in best.values())
    union = sum(union for _, _, union, _ in best.values())
    union += sum(size for nucleus, size in nucleus_sizes.items() if nucleus not in best)
    union += sum(size for segment, size in segment_sizes.items() if segment not in used)
    return Matches(found, len(nucleus_sizes), len(segment_sizes), intersection, union)


def _sizes(labels: np.ndarray) -> dict[int, int]:
    """Return the number of pixels of each label but 0."""
    ids, sizes = np.unique(labels[labels > 0], return_counts=True)
    return dict(zip(ids.tolist(), sizes.tolist(), strict=True))


def of_instances(segments: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return scores of instances; the variation of information is in bits, with the background as one object."""
    parts, matched = voi(labels, segments), matches(segments, labels)
    return {
        "split": parts["voi_split"],
        "merge": parts["voi_merge"],
        "VOI": sum(parts.values()),
        "F1": matched.f1,
        "AP": matched.precision,
        "AJI": matched.aggregated_jaccard,
    }


def of_foreground(mask: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return scores of the foreground."""
    comparison = BinaryComparison.of(labels > 0, mask > 0, (1, 1), 100, 0)
    return {"Dice": dice(comparison), "IoU": jaccard(comparison)}
