"""Look at a run and its data before training: checks of voxels and of parts, each of its own, and their report."""

from .preflight import SECONDS, check_data, preflight
from .report import Finding, Report

__all__ = ["SECONDS", "Finding", "Report", "check_data", "preflight"]
