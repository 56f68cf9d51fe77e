"""The networks of empanada, and how they segment the slices of a volume; for :mod:`.empanada_function`."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
import numpy as np
import numpy.typing as npt

from dacapo.compute_context import Step, create_compute_context
from dacapo.errors import ConfigError, MissingDependencyError, PathNotFoundError
from dacapo.store.files import is_file, make_folder
from dacapo.utils.plain_yaml import parse_yaml

if TYPE_CHECKING:
    import torch

Volume: TypeAlias = npt.NDArray[Any]

AXES = {"xy": 0, "xz": 1, "yz": 2}
"""The axis across the slices, by the plane of the slices, for volumes with axes z, y, x."""
LABEL_DIVISOR = 1000
INSTALL = (
    "segmenting with empanada needs its package; install it with: "
    "pip install --no-deps empanada-dl && pip install numba networkx"
)
_HOME = Path("~/.empanada")
_NEEDED = ("model", "norms", "labels", "thing_list")
# Thresholds to join objects of neighboring slices: overlap as a part of both, or of the smaller one.
_MERGE_IOU = _MERGE_IOA = 0.25


@attrs.frozen(kw_only=True)
class StackEngine:
    """Segments the slices of a volume, one after the other.

    Attributes:
        network: The network, on its device.
        config: Describes it.
        label_divisor: Number of labels available for the objects of a class.
        median_slices: See :func:`empanada_segmenter`, also for the following.
        downsampling: Factor by which slices are made smaller.
        confidence_thr: Least probability of a class.
        center_confidence_thr: Least probability of a center.
        min_distance: Least distance of centers.
        fine_boundaries: Whether objects are told apart at full resolution.
    """

    network: torch.nn.Module
    config: Mapping[str, Any]
    label_divisor: int = LABEL_DIVISOR
    median_slices: int = 11
    downsampling: int = 1
    confidence_thr: float = 0.5
    center_confidence_thr: float = 0.1
    min_distance: int = 21
    fine_boundaries: bool = True

    def infer_on_axis(self, volume: Volume, axis_name: str) -> tuple[None, list[Any]]:
        """Segment all slices, and follow objects through them.

        Args:
            volume: Axes z, y, x.
            axis_name: The plane of the slices.

        Returns:
            None, and the trackers of all classes with the objects they found.
        """
        from empanada.inference import patterns

        labels, things = list(self.config["labels"]), list(self.config["thing_list"])
        matchers = patterns.create_matchers(things, self.label_divisor, _MERGE_IOU, _MERGE_IOA)
        axes = {axis_name: AXES[axis_name]}
        trackers = patterns.create_axis_trackers(axes, labels, self.label_divisor, volume.shape)[axis_name]
        slices = [patterns.apply_matchers(found, matchers) for found in self._slices(volume, AXES[axis_name])]
        for index, found in patterns.backward_matching(slices, matchers, len(slices)):
            patterns.update_trackers(found, index, trackers)
        patterns.finish_tracking(trackers)
        return None, trackers

    def _slices(self, volume: Volume, axis: int) -> Iterator[Any]:
        """Yield the objects found in each slice, as run lengths."""
        import torch
        from empanada.inference.engines import PanopticDeepLabRenderEngine3d
        from empanada.inference.rle import pan_seg_to_rle_seg

        labels, things = list(self.config["labels"]), list(self.config["thing_list"])
        count = volume.shape[axis]
        engine = PanopticDeepLabRenderEngine3d(
            self.network,
            things,
            label_divisor=self.label_divisor,
            stuff_area=1,  # in each slice; classes without instances have no minimum size
            nms_threshold=self.center_confidence_thr,
            nms_kernel=self.min_distance,
            confidence_thr=self.confidence_thr,
            # With fewer, it would lose slices.
            median_kernel_size=min(self.median_slices, count - 1 + count % 2),
            padding_factor=self.config.get("padding_factor", 16),
            coarse_boundaries=not self.fine_boundaries,
        )
        device = next((tensor.device for tensor in self.network.parameters()), torch.device("cpu"))
        engine.to_model_device = lambda tensor: tensor.to(device)  # quantized networks have no parameters

        def encoded(found: torch.Tensor) -> Any:
            seg = found.squeeze().cpu().numpy().reshape(np.delete(volume.shape, axis))
            return pan_seg_to_rle_seg(seg, labels, self.label_divisor, things, force_connected=True)

        for index in range(count):
            image = np.take(volume, index, axis)
            size = tuple(-(-extent // self.downsampling) * self.downsampling for extent in image.shape)
            found = engine(self._network_input(image, size), size, self.downsampling)
            if found is not None:
                yield encoded(_cropped(found, image.shape))
        for found in engine.end(self.downsampling):
            yield encoded(_cropped(found, np.delete(volume.shape, axis)))

    def _network_input(self, image: Volume, size: tuple[int, ...]) -> torch.Tensor:
        """Return a slice for the network, of shape (1, 1, height, width), normalized and downsampled."""
        import torch

        highest = np.iinfo(image.dtype).max if image.dtype.kind in "iu" else 1
        norms = self.config["norms"]
        values = (image.astype(np.float32) / highest - norms["mean"]) / norms["std"]
        padded = np.pad(
            values, [(0, whole - part) for whole, part in zip(size, values.shape, strict=True)], mode="edge"
        )
        tensor = torch.from_numpy(padded.astype(np.float32))[None, None]
        return torch.nn.functional.avg_pool2d(tensor, self.downsampling)


def _cropped(found: torch.Tensor, shape: Any) -> torch.Tensor:
    height, width = (int(extent) for extent in shape)
    return found[..., :height, :width]


def read_model_config(model_config: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a network.

    Args:
        model_config: A YAML file, its content, or the name of a network that empanada's plugin for napari knows.

    Raises:
        PathNotFoundError: If no file or network has this name.
        ConfigError: If something is missing in it.
    """
    if isinstance(model_config, Mapping):
        values: Any = dict(model_config)
    else:
        file = _config_file(model_config)
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file} cannot be read: {error}") from error
        values = parse_yaml(text, str(file))
        values = {"folder": file.parent, **values} if isinstance(values, dict) else {}
    missing = [name for name in _NEEDED if name not in values]
    if missing:
        raise ConfigError(f"{model_config} does not describe a network of empanada: {', '.join(missing)} missing")
    return dict(values)


def _config_file(name: str | Path) -> Path:
    plugin = importlib.util.find_spec("empanada_napari")
    known = [_HOME.expanduser() / "configs", *(Path(place) / "configs" for place in _places(plugin))]
    candidates = [Path(name).expanduser(), *(folder / f"{name}.yaml" for folder in known)]
    for file in candidates:
        if is_file(file):
            return file
    raise PathNotFoundError(
        f"nothing describes the network {name}; give model_config the YAML file of one, or put it into {known[0]}"
    )


def _places(spec: Any) -> list[str]:
    return [] if spec is None else list(spec.submodule_search_locations or ())


def load_network(config: Mapping[str, Any], use_gpu: bool, use_quantized: bool) -> torch.nn.Module:
    """Return the network that a config describes, loaded once per process.

    A network that has an address is downloaded once, into ``~/.empanada``.

    Raises:
        ConfigError: If the file holds no TorchScript.
        PathNotFoundError: If the file does not exist.
    """
    name = "model_quantized" if use_quantized else "model"
    device = create_compute_context(step=Step.PREDICT).device if use_gpu and not use_quantized else "cpu"
    return _load(str(_network_file(str(config[name]), Path(config.get("folder", ".")))), str(device))


def _network_file(name: str, folder: Path) -> Path:
    if not name.startswith(("http://", "https://")):
        file = folder / Path(name).expanduser()
        if not is_file(file):
            raise PathNotFoundError(f"the network {file} does not exist; correct the path in its config")
        return file
    import torch

    file = _HOME.expanduser() / name.partition("?")[0].rpartition("/")[2]
    if not is_file(file):
        make_folder(file.parent)
        torch.hub.download_url_to_file(name, str(file), progress=False)
    return file


@functools.lru_cache(maxsize=1)
def _load(file: str, device: str) -> torch.nn.Module:
    import torch

    try:
        network: torch.nn.Module = torch.jit.load(file, map_location=device)  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise ConfigError(f"{file} holds no network in TorchScript: {error}") from error
    return network.eval()


def require_empanada() -> None:
    """Check that empanada is installed.

    Raises:
        MissingDependencyError: If it is not.
    """
    try:
        import empanada.inference.engines
        import empanada.inference.patterns  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(f"{INSTALL} ({error})") from error


def mend_voting() -> None:
    """Let empanada count votes in plain Python if Numba cannot compile its function; Numba 0.68 cannot."""
    from empanada import array_utils
    from numba.core.errors import NumbaError

    vote = array_utils.rle_voting
    if hasattr(vote, "py_func"):
        try:
            vote(np.array([[0, 2], [1, 3]]), 2)
        except (AssertionError, NumbaError):
            array_utils.rle_voting = vote.py_func
