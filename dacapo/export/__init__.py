"""Hand trained models to other programs: as a bioimage.io package, or as a plain ONNX file."""

from .export_model import FORMATS, export_model
from .network import ExportedNetwork, exported_network

__all__ = ["FORMATS", "ExportedNetwork", "export_model", "exported_network"]
