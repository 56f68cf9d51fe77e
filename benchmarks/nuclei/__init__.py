"""Nuclei of a real 2D image, foreground and instances, beside other programs; ``python -m benchmarks.nuclei``."""
