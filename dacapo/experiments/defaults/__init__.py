"""Decisions for a run that its description leaves open: one place for the demo, ``dacapo.segment``, and scripts.

All of them follow from a few facts about the data. :func:`default_run_config` returns an ordinary config, in which
every decision can be seen and changed.
"""

from .facts import Facts, facts_of
from .intensities import intensity_range, scaled
from .labels import check_labels
from .network import default_network
from .parts import divide, held_out
from .run import default_run_config
from .task import instance_task, semantic_task
from .trainer import default_trainer

__all__ = [
    "Facts",
    "check_labels",
    "default_network",
    "default_run_config",
    "default_trainer",
    "divide",
    "facts_of",
    "held_out",
    "instance_task",
    "intensity_range",
    "scaled",
    "semantic_task",
]
