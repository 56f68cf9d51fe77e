"""Post-processors: from the prediction of a network to the segmentation that is asked for."""

from __future__ import annotations

from dacapo.utils.aliases import alias_modules

from .dummy_post_processor import DummyPostProcessor, DummyPostProcessorParameters
from .post_processor import PostProcessor, PostProcessorParameters

__all__ = ["DummyPostProcessor", "DummyPostProcessorParameters", "PostProcessor", "PostProcessorParameters"]

# Legacy import paths.
alias_modules(
    __name__,
    {
        "dummy_post_processor_parameters": "dummy_post_processor",
        "post_processor_parameters": "post_processor",
    },
)
