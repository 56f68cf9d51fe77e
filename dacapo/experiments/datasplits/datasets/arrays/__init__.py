"""Arrays: views of data on disk or in memory, addressed in world units."""

from dacapo.utils.aliases import alias_modules

from .array import Array, ArrayConfig
from .binarize_array import BinarizeArray, BinarizeArrayConfig
from .channel_array import ChannelArray, ChannelArrayConfig
from .concat_array import ConcatArray, ConcatArrayConfig
from .crop_array import CropArray, CropArrayConfig
from .dummy_array import DummyArray, DummyArrayConfig
from .dvid_array import DVIDArray, DVIDArrayConfig
from .hdf5_array import HDF5Array, HDF5ArrayConfig
from .image_stack_array import ImageStackArray, ImageStackArrayConfig
from .intensity_array import IntensitiesArray, IntensitiesArrayConfig
from .logical_or_array import LogicalOrArray, LogicalOrArrayConfig
from .memory_array import MemoryArray, MemoryArrayConfig
from .merge_instances_array import MergeInstancesArray, MergeInstancesArrayConfig
from .missing_annotations_mask import MissingAnnotationsMask, MissingAnnotationsMaskConfig
from .numpy_array import NumpyArray
from .ones_array import OnesArray, OnesArrayConfig
from .opener import config_for, open_array, open_identifier
from .reading import Read, read_all
from .resampled_array import ResampledArray, ResampledArrayConfig
from .select_array import SelectArray, SelectArrayConfig
from .sum_array import SumArray, SumArrayConfig
from .tiff_array import TiffArray, TiffArrayConfig
from .view import ArrayView, ChannelView, VoxelwiseView
from .zarr_array import ZarrArray, ZarrArrayConfig

__all__ = [
    "Array",
    "ArrayConfig",
    "ArrayView",
    "BinarizeArray",
    "BinarizeArrayConfig",
    "ChannelArray",
    "ChannelArrayConfig",
    "ChannelView",
    "ConcatArray",
    "ConcatArrayConfig",
    "CropArray",
    "CropArrayConfig",
    "DVIDArray",
    "DVIDArrayConfig",
    "DummyArray",
    "DummyArrayConfig",
    "HDF5Array",
    "HDF5ArrayConfig",
    "ImageStackArray",
    "ImageStackArrayConfig",
    "IntensitiesArray",
    "IntensitiesArrayConfig",
    "LogicalOrArray",
    "LogicalOrArrayConfig",
    "MemoryArray",
    "MemoryArrayConfig",
    "MergeInstancesArray",
    "MergeInstancesArrayConfig",
    "MissingAnnotationsMask",
    "MissingAnnotationsMaskConfig",
    "NumpyArray",
    "OnesArray",
    "OnesArrayConfig",
    "Read",
    "ResampledArray",
    "ResampledArrayConfig",
    "SelectArray",
    "SelectArrayConfig",
    "SumArray",
    "SumArrayConfig",
    "TiffArray",
    "TiffArrayConfig",
    "VoxelwiseView",
    "ZarrArray",
    "ZarrArrayConfig",
    "config_for",
    "open_array",
    "open_identifier",
    "read_all",
]

alias_modules(
    __name__,
    {
        "array_config": "array",
        "binarize_array_config": "binarize_array",
        "concat_array_config": "concat_array",
        "crop_array_config": "crop_array",
        "dummy_array_config": "dummy_array",
        "dvid_array_config": "dvid_array",
        "intensity_array_config": "intensity_array",
        "logical_or_array_config": "logical_or_array",
        "merge_instances_array_config": "merge_instances_array",
        "missing_annotations_mask_config": "missing_annotations_mask",
        "ones_array_config": "ones_array",
        "resampled_array_config": "resampled_array",
        "sum_array_config": "sum_array",
        "tiff_array_config": "tiff_array",
        "zarr_array_config": "zarr_array",
    },
)
