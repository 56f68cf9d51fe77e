"""Manage stored runs: list, show, compare and delete them, and move them as archives.

The functions work with all stores, and on the runs of the options in use; ``with Options.override(runs_base_dir=...)``
chooses others. ``dacapo run`` has a command for each.
"""

from dacapo.runs.comparison import Comparison, compare_runs
from dacapo.runs.deletion import Removal, delete_run, removal_of
from dacapo.runs.details import RunDetails, show_run
from dacapo.runs.exporting import Exported, export_run
from dacapo.runs.importing import Imported, import_run
from dacapo.runs.listing import RunSummary, list_runs

__all__ = [
    "Comparison",
    "Exported",
    "Imported",
    "Removal",
    "RunDetails",
    "RunSummary",
    "compare_runs",
    "delete_run",
    "export_run",
    "import_run",
    "list_runs",
    "removal_of",
    "show_run",
]
