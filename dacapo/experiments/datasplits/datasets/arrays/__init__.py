"""Arrays: views of data on disk or in memory, addressed in world units."""

from dacapo.utils.aliases import alias_modules

from .array import Array, ArrayConfig
from .dummy_array import DummyArray, DummyArrayConfig
from .numpy_array import NumpyArray
from .zarr_array import ZarrArray, ZarrArrayConfig

__all__ = [
    "Array",
    "ArrayConfig",
    "DummyArray",
    "DummyArrayConfig",
    "NumpyArray",
    "ZarrArray",
    "ZarrArrayConfig",
]

alias_modules(
    __name__,
    {
        "array_config": "array",
        "dummy_array_config": "dummy_array",
        "zarr_array_config": "zarr_array",
    },
)
