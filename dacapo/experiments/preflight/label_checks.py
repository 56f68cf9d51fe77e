"""Checks of the values of ground truth, by how the task reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .facts import LabelFacts
from .look import ROLES, DatasetLook, Look
from .report import Finding

SPARSE = 1e-3
"""A smaller fraction of foreground is rarely met by a sample."""
LISTED = 5
"""Number of ids that a message lists."""


def _labeled(look: Look, kinds: tuple[str, ...] = ("train", "validate")) -> list[tuple[DatasetLook, LabelFacts]]:
    """Return the datasets with sampled labels, and the facts about them."""
    parts = [(part, part.labels) for kind in kinds for part in look.of(kind)]
    return [(part, labels) for part, labels in parts if labels is not None and labels.voxels]


def _all_training(look: Look, condition: Callable[[LabelFacts], bool]) -> bool:
    """Return whether the labels of all training datasets were read completely and meet a condition."""
    facts = [part.labels for part in look.of("train")]
    return all(labels is not None and labels.whole and condition(labels) for labels in facts)


def _meaning(look: Look) -> str | None:
    return None if look.task is None else look.task.predictor.labels_are


def _ids(values: list[int]) -> str:
    return ", ".join(map(str, sorted(values)[:LISTED])) + (", ..." if len(values) > LISTED else "")


def unannotated(look: Look) -> Iterator[Finding]:
    """Find masks that leave nothing to learn from."""
    hopeless = _all_training(look, lambda labels: not labels.annotated)
    for part, labels in _labeled(look):
        if not labels.annotated:
            level = "error" if hopeless and part.kind == "train" else "warning"
            message = f"the mask is 0 in all {labels.voxels:,} sampled voxels, so nothing counts; check mask_config"
            yield part.finding(level, "not annotated", "mask_config", message)


def background_only(look: Look) -> Iterator[Finding]:
    """Find labels with one value everywhere, such as background."""
    parts = [(part, labels) for part, labels in _labeled(look) if labels.annotated]
    hopeless = _all_training(look, lambda labels: not labels.annotated or _is_uniform(labels))
    for part, labels in parts:
        if _is_uniform(labels):
            values = sorted({value for channel in labels.counts for value in channel})
            message = (
                f"the labels are {_ids(values)} in all {labels.annotated:,} sampled voxels that are annotated; check "
                "dataset and region of gt_config, or give sample_points where objects are"
            )
            level = "error" if hopeless and part.kind == "train" else "warning"
            yield part.finding(level, "one label", "gt_config", message)


def _is_uniform(labels: LabelFacts) -> bool:
    return all(len(channel) == 1 for channel in labels.counts)


def sparse(look: Look) -> Iterator[Finding]:
    """Find labels with so little foreground that most samples have none."""
    for part, labels in _labeled(look, ("train",)):
        filled = max((labels.foreground(number) for number in range(len(labels.counts))), default=0)
        if 0 < filled < SPARSE * labels.annotated:
            message = (
                f"only {filled:,} of {labels.annotated:,} sampled voxels that are annotated are labeled, so most "
                "samples hold background only; give sample_points where objects are, or crop gt_config"
            )
            yield part.finding("warning", "sparse", "sample_points", message)


def beyond_classes(look: Look) -> Iterator[Finding]:
    """Find labels that are numbers of no class, whose voxels count nothing in the loss."""
    if look.task is None or _meaning(look) != "classes":
        return
    names = look.task.predictor.class_names or []
    for part, labels in _labeled(look):
        beyond = {value: count for value, count in labels.counts[0].items() if not 0 <= value < len(names)}
        if beyond:
            most = 2 * sum(beyond.values()) > sum(count for value, count in labels.counts[0].items() if value)
            message = (
                f"{len(beyond):,} ids, such as {_ids(list(beyond))}, on {sum(beyond.values()):,} of "
                f"{labels.annotated:,} sampled voxels are not among the {len(names)} classes 0..{len(names) - 1} "
                f"({', '.join(names)}), and count nothing in the loss; name more classes in task_config, turn ids of "
                "objects into classes with a BinarizeArrayConfig in gt_config, or mask these voxels with mask_config"
            )
            yield part.finding("error" if most else "warning", "ids beyond classes", "gt_config", message)


def absent_classes(look: Look) -> Iterator[Finding]:
    """Find classes without a voxel of ground truth: in all datasets of a kind, or in one of several."""
    if look.task is None or look.task.predictor.class_names is None or _meaning(look) not in ("classes", "masks"):
        return
    names = look.task.predictor.class_names
    for kind in ROLES:
        parts = [(part, _absent(labels, names, _meaning(look) == "masks")) for part, labels in _labeled(look, (kind,))]
        everywhere = [name for name in names if parts and all(name in absent for _, absent in parts)]
        for part, absent in parts:
            here = [name for name in absent if name not in everywhere]
            if here:
                message = f"no sampled voxel of ground truth is {' or '.join(here)}; other datasets have it"
                yield part.finding("note", "class without truth", "gt_config", message)
        if everywhere:
            use = "learned" if kind == "train" else "scored"
            message = (
                f"no sampled voxel of any {ROLES[kind]} dataset is {' or '.join(everywhere)}, so it cannot be {use}; "
                "check the labels in gt_config, or drop the class from task_config"
            )
            yield Finding("warning", "class without truth", "task_config", message)


def _absent(labels: LabelFacts, names: list[str], one_channel_each: bool) -> list[str]:
    if one_channel_each:
        return [n for number, n in enumerate(names) if number < len(labels.counts) and not labels.foreground(number)]
    return [name for number, name in enumerate(names) if not labels.counts[0][number]]


def single_object(look: Look) -> Iterator[Finding]:
    """Find labels of classes where a task expects a different id for each object."""
    if _meaning(look) != "objects":
        return
    for part, labels in _labeled(look):
        ids = [value for value in labels.counts[0] if value]
        if len(ids) == 1 and labels.counts[0][0]:
            message = (
                f"all objects in the {labels.annotated:,} sampled voxels have the id {ids[0]}, so touching ones "
                "cannot be told apart; give each its own id (connected components) in gt_config"
            )
            yield part.finding("warning", "one object", "gt_config", message)
