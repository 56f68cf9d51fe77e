"""A whole run in a few minutes: data, training, validation, segmentation of an unseen volume, and a picture."""

from .data import DemoData
from .nuclei import synthetic_nuclei
from .script import Demo, Scores, demo
from .tissue import synthetic_classes, synthetic_tissue

__all__ = ["Demo", "DemoData", "Scores", "demo", "synthetic_classes", "synthetic_nuclei", "synthetic_tissue"]
