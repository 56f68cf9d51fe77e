"""Names and signatures of the modules that only tools around training use."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import pytest

# By module and name; parameters in their order, with their defaults. A method is named with its class.
SIGNATURES = {
    "dacapo.experiments.datasplits.datasets.arrays.dvid_array": {
        "DVIDArray.__init__": "self, array_config",
        **dict.fromkeys(
            (
                "DVIDArray.__str__",
                "DVIDArray.__repr__",
                "DVIDArray.attrs",
                "DVIDArray.axes",
                "DVIDArray.dims",
                "DVIDArray._daisy_array",
                "DVIDArray.voxel_size",
                "DVIDArray.roi",
                "DVIDArray.writable",
                "DVIDArray.dtype",
                "DVIDArray.num_channels",
                "DVIDArray.spatial_axes",
                "DVIDArray.data",
                "DVIDArray._can_neuroglance",
                "DVIDArray._neuroglancer_source",
                "DVIDArray._neuroglancer_layer",
                "DVIDArray._transform_matrix",
                "DVIDArray._output_dimensions",
                "DVIDArray._source_name",
            ),
            "self",
        ),
        "DVIDArray.__getitem__": "self, roi",
        "DVIDArray.add_metadata": "self, metadata",
    },
    "dacapo.experiments.datasplits.datasets.arrays.dvid_array_config": {
        "DVIDArrayConfig.__init__": "self, name, source, world_unit=None",
        "DVIDArrayConfig.verify": "self",
    },
    "dacapo.ext": {
        "NoSuchModule.__init__": "self, name",
        "NoSuchModule.__getattr__": "self, item",
    },
    "dacapo.store.conversion_hooks": {
        "register_hierarchy_hooks": "converter",
        "register_hooks": "converter",
        "cls_fun": "typ",
    },
    "dacapo.utils.pipeline": {
        "CreatePoints.__init__": "self, labels, num_points=(20, 150)",
        "DilatePoints.__init__": "self, labels, dilations=(2, 8)",
        "RandomDilateLabels.__init__": "self, labels, dilations=(2, 8)",
        "Relabel.__init__": "self, labels, connectivity=1",
        "ExpandLabels.__init__": "self, labels, background=0",
        "ZerosSource.__init__": "self, key, spec",
        "ZerosSource.setup": "self",
        "ZerosSource.provide": "self, request",
        "MakeRaw.setup": "self",
        **{
            f"{node}.process": "self, batch, request"
            for node in ("CreatePoints", "MakeRaw", "DilatePoints", "RandomDilateLabels", "Relabel", "ExpandLabels")
        },
        "random_source_pipeline": (
            "voxel_size=(8, 8, 8), input_shape=(148, 148, 148), dtype=<class 'numpy.uint8'>, expand_labels=False, "
            "relabel_connectivity=1, random_dilate=True, num_points=(20, 150), gaussian_noise_args=(0, 0.1), "
            "gaussian_blur_args=(0.5, 1.5), membrane_like=True, membrane_size=3, inside_value=0.5"
        ),
    },
    "dacapo.utils.view": {
        "get_viewer": "arrays, width=1500, height=600, headless=True",
        "add_seg_layer": "state, name, data, voxel_size, meshes=False",
        "add_scalar_layer": "state, name, data, voxel_size",
        "BestScore.__init__": "self, run, criterion=None",
        "BestScore.get_ds": "self, iteration, validation_dataset",
        "BestScore.does_new_best_exist": "self",
        "NeuroglancerRunViewer.__init__": "self, run, embedded=False, criterion=None",
        "NeuroglancerRunViewer.updated_neuroglancer_layer": "self, layer_name, ds",
        "NeuroglancerRunViewer.open_from_array_identitifier": "self, array_identifier",
        **{
            f"NeuroglancerRunViewer.{name}": "self"
            for name in (
                "deprecated_start_neuroglancer",
                "start_neuroglancer",
                "start",
                "get_datasets",
                "update_best_info",
                "update_neuroglancer",
                "update_best_layer",
                "new_validation_checker",
                "update_with_new_validation_if_possible",
                "stop",
            )
        },
    },
}
CASES = [(module, name, wanted) for module, names in SIGNATURES.items() for name, wanted in names.items()]


def signature(module: str, name: str) -> str:
    """Return parameters and defaults, without their types."""
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = inspect.getattr_static(found, part)
    if isinstance(found, property):
        found = found.fget
    elif not callable(found):  # a cached property
        found = found.func
    parameters = inspect.signature(found).parameters.values()
    return ", ".join(str(p.replace(annotation=p.empty)) for p in parameters)


@pytest.mark.parametrize(("module", "name", "wanted"), CASES)
def test_signature(module: str, name: str, wanted: str) -> None:
    assert signature(module, name) == wanted
