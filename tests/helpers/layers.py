"""The layers of the package, and its imports, for the tests that hold them and the drawing that shows them."""

from __future__ import annotations

from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[2] / "dacapo"

# From the bottom up; a module belongs to the longest prefix that fits. Modules import from their own layer and below.
LAYERS = [
    ["errors"],
    [
        "options",
        "ext",
        "utils",
        "experiments.config",
        "experiments.field_help",
        "experiments.model_state",
        "experiments.arraytypes",
        "experiments.training_iteration_stats",
        "experiments.training_stats",
        "experiments.validation_iteration_scores",
    ],
    ["store"],
    ["experiments.datasplits.datasets.arrays"],  # what the nodes of gp read and make
    ["gp", "experiments.trainers.gp_augments", "utils.pipeline"],  # augmentations, as changes of tensors and as nodes
    ["compute_context", "blockwise"],  # what post-processors and evaluators run in blocks
    ["experiments.datasplits"],
    ["experiments.architectures", "experiments.model", "experiments.block_plan"],
    ["experiments.tasks"],
    ["experiments.trainers", "experiments.starts"],
    ["experiments"],
    ["inference"],
    ["convert", "info"],
    ["web"],  # pages about runs, for the report and the dashboard
    # The worker of a prediction is an operation; the original has it in blockwise.
    [
        "train",
        "validate",
        "predict",
        "apply",
        "blockwise.predict_worker",
        "plot",
        "show_slices",
        "tables",
        "utils.view",
    ],
    ["segment", "loaded_model"],
    ["export"],
    ["report", "dashboard", "view", "runs"],
    ["demo", "sweep"],
    ["cli", "commands", "config_commands", "__main__"],
    ["testing"],  # for other packages, and our tests
]


def level_of(module: str) -> int:
    """Return the number of the layer that a module belongs to, the lowest being 0."""
    parts = module.split(".")
    for length in range(len(parts), 1, -1):
        for number, prefixes in enumerate(LAYERS):
            if ".".join(parts[1:length]) in prefixes:
                return number
    raise AssertionError(f"{module} belongs to no layer; add it to the table in {Path(__file__).name}")


def imports() -> dict[str, set[str]]:
    """Return for each module those that it imports when it runs, in functions too.

    The root package is left out: it offers names of all layers, loaded on demand.
    """
    graph = grimp.build_graph("dacapo", exclude_type_checking_imports=True, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in sorted(graph.modules - {"dacapo"})}
