"""Segment function that finds organelles with a panoptic network of empanada; see :mod:`dacapo.blockwise`.

empanada segments the slices of a volume along one axis or three, and joins the objects that it finds. Install its
package ``empanada-dl`` separately. Networks, such as MitoNet, are files of their own::

    segment_blockwise("dacapo.blockwise.empanada_function", ..., model_config="mitonet.yaml", min_size=500)

A YAML file, as empanada exports and registers it, describes a network: ``model`` and, optionally, ``model_quantized``
name a TorchScript file or its address, ``norms`` the ``mean`` and ``std`` of values from 0 to 1, ``labels`` the
classes, ``thing_list`` those with instances, ``class_names`` their names, and ``padding_factor`` the number that
divides the edges of a padded slice. TorchScript is code: use networks that you trust.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from funlib.geometry import Roi

from dacapo.blockwise.empanada_engine import (
    AXES,
    LABEL_DIVISOR,
    StackEngine,
    Volume,
    load_network,
    mend_voting,
    read_model_config,
    require_empanada,
)
from dacapo.blockwise.worker.user_modules import check_arguments
from dacapo.compute_context import Step
from dacapo.errors import ChannelMismatchError, ConfigError
from dacapo.experiments.datasplits.datasets.arrays import Array

if TYPE_CHECKING:
    import daisy.v2 as daisy

Trackers: TypeAlias = dict[str, list[Any]]
"""The trackers of each class, by the plane of the slices."""

COMPUTE_STEP = Step.PREDICT

_CONSENSUS_IOU = 0.75


def check_segment_function(**parameters: Any) -> None:
    """Check the parameters, as far as possible, before anything is segmented.

    Args:
        **parameters: For :func:`empanada_segmenter`.

    Raises:
        MissingDependencyError: If empanada is not installed.
        PathNotFoundError: If no file describes the network.
        ConfigError: If a parameter is invalid.
    """
    require_empanada()
    check_arguments(empanada_segmenter, __name__, [None], parameters)
    config = read_model_config(parameters.get("model_config", "MitoNet_v1"))
    if parameters.get("use_quantized", False) and not config.get("model_quantized"):
        raise ConfigError("the network has no model_quantized; leave out use_quantized")
    if parameters.get("inference_plane", "xy") not in AXES:
        raise ConfigError(f"inference_plane is {parameters['inference_plane']!r}; expected one of {', '.join(AXES)}")
    for name in ("downsampling", "median_slices", "maximum_objects_per_class", "min_distance_object_centers"):
        if parameters.get(name, 1) < 1:
            raise ConfigError(f"{name} is {parameters[name]}; expected at least 1")
    if parameters.get("median_slices", 1) % 2 == 0:
        raise ConfigError(f"median_slices is {parameters['median_slices']}; expected an odd number")
    downsampling = parameters.get("downsampling", 1)
    if downsampling & (downsampling - 1):
        raise ConfigError(f"downsampling is {downsampling}; expected a power of 2")
    if parameters.get("multigpu", False):
        raise ConfigError(
            "multigpu divides slices among GPUs, which blocks do already: ask for several workers instead"
        )


def segment_function(input_array: Array, block: Roi | daisy.Block, **parameters: Any) -> Volume:
    """Segment a block of an image.

    Args:
        input_array: The image, in 2D or 3D; at most one channel.
        block: The region to segment in world units; of a block, the region that it reads.
        **parameters: For :func:`empanada_segmenter`.

    Returns:
        The labels of the block, 0 for background.

    Raises:
        MissingDependencyError: If empanada is not installed.
        ChannelMismatchError: If the image has several channels.
    """
    require_empanada()
    image = input_array[getattr(block, "read_roi", block)]
    axis = input_array.channel_axis
    if axis is not None and image.shape[axis] != 1:
        raise ChannelMismatchError(f"{input_array} has {image.shape[axis]} channels; empanada segments images of one")
    return empanada_segmenter(image if axis is None else image.squeeze(axis), **parameters)


def empanada_segmenter(
    image: Volume,
    model_config: str | Path | Mapping[str, Any] = "MitoNet_v1",
    use_gpu: bool = True,
    use_quantized: bool = False,
    multigpu: bool = False,
    downsampling: int = 1,
    confidence_thr: float = 0.5,
    center_confidence_thr: float = 0.1,
    min_distance_object_centers: int = 21,
    fine_boundaries: bool = True,
    semantic_only: bool = False,
    median_slices: int = 11,
    min_size: int = 10000,
    min_extent: int = 50,
    maximum_objects_per_class: int = 1000000,
    inference_plane: str = "xy",
    orthoplane: bool = True,
    return_panoptic: bool = False,
    pixel_vote_thr: int = 1,
    allow_one_view: bool = False,
) -> Volume:
    """Segment an image.

    Args:
        image: Axes z, y, x, or y, x. Integers use the range of their type, other numbers the range from 0 to 1.
        model_config: Describes the network: a YAML file, its content, or the name that empanada knows it by.
        use_gpu: Whether the network runs on the device of the compute context, or on the CPU.
        use_quantized: Whether to use the quantized network, which only runs on the CPU.
        multigpu: Not supported for blocks; several workers use several GPUs.
        downsampling: Factor by which slices are made smaller for the network, a power of 2.
        confidence_thr: Least probability of a voxel of the class, for networks with a single class.
        center_confidence_thr: Least probability of the center of an object.
        min_distance_object_centers: Least distance between centers, in voxels of the smaller slices.
        fine_boundaries: Whether to separate objects at full resolution, or at a quarter of it.
        semantic_only: Whether to find only classes, no objects.
        median_slices: Number of slices for the median of probabilities; odd.
        min_size: Least size of an object in voxels.
        min_extent: Least edge of the bounding box of an object, in voxels.
        maximum_objects_per_class: Number of labels available for the objects of a class.
        inference_plane: The plane of the slices without ``orthoplane``.
        orthoplane: Whether to segment slices of all three planes, which then vote.
        return_panoptic: Whether labels are the number of the class times ``maximum_objects_per_class`` plus that of the
            object, and classes without objects are there too. Otherwise objects are numbered from 1 on.
        pixel_vote_thr: Number of planes that must assign a voxel to an object.
        allow_one_view: Whether to keep objects that were found in a single plane.

    Returns:
        Labels of the shape of the image, 0 for background.

    Raises:
        MissingDependencyError: If empanada is not installed.
        PathNotFoundError: If no file describes the network.
        ConfigError: If a parameter is invalid.
    """
    given = {name: value for name, value in locals().items() if name != "image"}
    check_segment_function(**given)
    volume = image[np.newaxis] if image.ndim == 2 else image
    if volume.ndim != 3:
        raise ConfigError(f"the image has the shape {image.shape}; expected two or three axes")
    config = read_model_config(model_config)
    if semantic_only:
        config = {**config, "thing_list": []}
    engine = StackEngine(
        network=load_network(config, use_gpu, use_quantized),
        config=config,
        label_divisor=maximum_objects_per_class,
        median_slices=median_slices,
        downsampling=downsampling,
        confidence_thr=confidence_thr,
        center_confidence_thr=center_confidence_thr,
        min_distance=min_distance_object_centers,
        fine_boundaries=fine_boundaries,
    )
    flat = image.ndim == 2
    dtype = np.min_scalar_type((max(config["labels"]) + 1) * maximum_objects_per_class)
    filters: dict[str, Any] = {"min_size": min_size, "min_extent": 1 if flat else min_extent, "dtype": dtype}
    if orthoplane and not flat:
        voting: dict[str, Any] = {"pixel_vote_thr": pixel_vote_thr, "allow_one_view": allow_one_view}
        results = tracker_consensus(orthoplane_inference(engine, volume), config, **voting, **filters)
    else:
        _, _, trackers = stack_inference(engine, volume, "xy" if flat else inference_plane)
        results = stack_postprocessing(trackers, config, label_divisor=maximum_objects_per_class, **filters)
    labels = np.zeros(volume.shape, dtype=dtype)
    for found, _, tracker in results:
        if return_panoptic or tracker.class_id in config["thing_list"] or semantic_only:
            labels = np.where(labels == 0, found, labels)
    if not return_panoptic:
        labels = np.unique(labels, return_inverse=True)[1] + (0 if (labels == 0).any() else 1)
    return labels.reshape(image.shape).astype(dtype)


def stack_inference(engine: Any, volume: Volume, axis_name: str) -> tuple[Any, str, Trackers]:
    """Segment the slices of a volume in one plane.

    Args:
        engine: A :class:`StackEngine`, or another one with a method ``infer_on_axis``.
        volume: Axes z, y, x.
        axis_name: ``xy``, ``xz`` or ``yz``.

    Returns:
        The result of the engine for the stack, the plane, and the trackers of all classes by plane.
    """
    stack, trackers = engine.infer_on_axis(volume, axis_name)
    return stack, axis_name, {axis_name: trackers}


def orthoplane_inference(engine: Any, volume: Volume) -> Trackers:
    """Return the trackers of all classes by plane, after segmenting in all three; see :func:`stack_inference`."""
    return {plane: engine.infer_on_axis(volume, plane)[1] for plane in AXES}


def stack_postprocessing(
    trackers: Trackers,
    model_config: str | Path | Mapping[str, Any],
    label_divisor: int = LABEL_DIVISOR,
    min_size: int = 200,
    min_extent: int = 4,
    dtype: npt.DTypeLike = np.uint32,
) -> Iterator[tuple[Volume, str, Any]]:
    """Yield the objects of each class found in one plane.

    Args:
        trackers: Of :func:`stack_inference`.
        model_config: Describes the network, as for :func:`empanada_segmenter`.
        label_divisor: Number of labels available for the objects of a class.
        min_size: Least size of an object in voxels.
        min_extent: Least edge of the bounding box of an object.
        dtype: Type of the labels.

    Yields:
        The labels of a class, which begin at its number times ``label_divisor``; its name; its tracker.

    Raises:
        ConfigError: If trackers were made with another ``label_divisor``.
    """
    config = read_model_config(model_config)
    for tracker in next(iter(trackers.values())):
        if tracker.label_divisor != label_divisor:
            raise ConfigError(f"label_divisor is {label_divisor}, but trackers were made with {tracker.label_divisor}")
        yield _filled(tracker, config, min_size, min_extent, dtype)


def tracker_consensus(
    trackers: Trackers,
    model_config: str | Path | Mapping[str, Any],
    pixel_vote_thr: int = 2,
    cluster_iou_thr: float = _CONSENSUS_IOU,
    allow_one_view: bool = False,
    min_size: int = 200,
    min_extent: int = 4,
    dtype: npt.DTypeLike = np.uint32,
) -> Iterator[tuple[Volume, str, Any]]:
    """Yield the objects of each class on which several planes agree.

    Args:
        trackers: Of :func:`orthoplane_inference`.
        model_config: Describes the network, as for :func:`empanada_segmenter`.
        pixel_vote_thr: Number of planes that must assign a voxel to an object.
        cluster_iou_thr: Least intersection over union of objects of different planes that count as one.
        allow_one_view: Whether to keep objects that were found in a single plane.
        min_size: See :func:`stack_postprocessing`, also for the following.

    Yields:
        The labels of a class, as for :func:`stack_postprocessing`; its name; the tracker of the agreed objects.
    """
    from empanada.inference import patterns

    mend_voting()
    config = read_model_config(model_config)
    for class_id in config["labels"]:
        of_class = patterns.get_axis_trackers_by_class(trackers, class_id)
        if class_id in config["thing_list"]:
            agreed = patterns.create_instance_consensus(of_class, pixel_vote_thr, cluster_iou_thr, allow_one_view)
            first = class_id * agreed.label_divisor  # numbered from 1 on in each class
            agreed.instances = {first + number: instance for number, instance in agreed.instances.items()}
        else:
            agreed = patterns.create_semantic_consensus(of_class, pixel_vote_thr)
        yield _filled(agreed, config, min_size, min_extent, dtype)


def _filled(
    tracker: Any, config: Mapping[str, Any], min_size: int, min_extent: int, dtype: npt.DTypeLike
) -> tuple[Volume, str, Any]:
    """Return the objects of a tracker as labels, without small ones, and the name of its class."""
    from empanada.inference import filters, patterns

    if tracker.class_id in config["thing_list"]:
        filters.remove_small_objects(tracker, min_size=min_size)
        filters.remove_pancakes(tracker, min_span=min_extent)
    labels = np.zeros(tracker.shape3d, dtype=dtype)
    patterns.fill_volume(labels, tracker.instances)
    return labels, str(config.get("class_names", {}).get(tracker.class_id, tracker.class_id)), tracker
