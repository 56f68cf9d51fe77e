"""Post-processors: from the prediction of a network to a segmentation."""

from __future__ import annotations

from dacapo.utils.aliases import alias_modules

from .agglomeration_post_processor import AgglomerationPostProcessor, AgglomerationPostProcessorParameters
from .argmax_post_processor import ArgmaxPostProcessor, ArgmaxPostProcessorParameters
from .dummy_post_processor import DummyPostProcessor, DummyPostProcessorParameters
from .post_processor import PostProcessor, PostProcessorParameters
from .stored_prediction import StoredPredictionPostProcessor
from .threshold_post_processor import ThresholdPostProcessor, ThresholdPostProcessorParameters
from .watershed_post_processor import WatershedPostProcessor, WatershedPostProcessorParameters

__all__ = [
    "AgglomerationPostProcessor",
    "AgglomerationPostProcessorParameters",
    "ArgmaxPostProcessor",
    "ArgmaxPostProcessorParameters",
    "DummyPostProcessor",
    "DummyPostProcessorParameters",
    "PostProcessor",
    "PostProcessorParameters",
    "StoredPredictionPostProcessor",
    "ThresholdPostProcessor",
    "ThresholdPostProcessorParameters",
    "WatershedPostProcessor",
    "WatershedPostProcessorParameters",
]

# Legacy import paths.
alias_modules(
    __name__,
    {
        "argmax_post_processor_parameters": "argmax_post_processor",
        "dummy_post_processor_parameters": "dummy_post_processor",
        "post_processor_parameters": "post_processor",
        "threshold_post_processor_parameters": "threshold_post_processor",
        "watershed_post_processor_parameters": "watershed_post_processor",
    },
)
