"""Segment very large microscopy volumes with deep networks."""
