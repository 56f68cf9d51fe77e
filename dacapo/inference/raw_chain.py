"""The changes that raw data goes through before training, applied to another volume.

The raw data of a dataset is described by a tree of array configs, whose leaves are arrays in files. A network has to
see a new volume through the same tree. The parts that describe the place of the training data are left out: crops, and
the files themselves. The parts that describe how to read a file stay: axes, voxel size, offset and grid; see
:mod:`~dacapo.experiments.datasplits.datasets.arrays.overrides`. Those that the config of the volume itself gives come
first. The offset is that of the volume where the training datasets have different ones.

Where the leaves are several arrays, a single volume stands for all of them only if

- they become the channels of a ``ConcatArrayConfig``, and the volume has as many channels, or
- they lie in one container, and the container of the volume has arrays of the same names.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import attrs

from dacapo.errors import ArrayNotFoundError, ConfigError, MetadataError, StorageError
from dacapo.experiments.config import configs_inside
from dacapo.experiments.datasplits import DataSplitConfig
from dacapo.experiments.datasplits.datasets.arrays import (
    Array,
    ArrayConfig,
    ChannelArrayConfig,
    ConcatArrayConfig,
    CropArrayConfig,
    SelectArrayConfig,
    ZarrArrayConfig,
    config_for,
)
from dacapo.experiments.datasplits.datasets.arrays.array import map_inner
from dacapo.experiments.datasplits.datasets.arrays.axes import axis_names, spatial_axes_of
from dacapo.experiments.datasplits.datasets.arrays.containers import dataset_name, find_array
from dacapo.experiments.datasplits.datasets.arrays.levels import level_configs
from dacapo.experiments.datasplits.datasets.arrays.overrides import (
    overrides_of,
    read_like,
    source_of,
    with_fields,
    without_overrides,
)
from dacapo.experiments.datasplits.datasets.arrays.view import build
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.paths import resolved

Change: TypeAlias = Callable[[ArrayConfig], ArrayConfig]

_OWN_OVERRIDES = (
    "give the volume as a config that says how to read it, such as "
    "dacapo.experiments.datasplits.datasets.arrays.config_for(path, dataset, axes=..., voxel_size=..., offset=...)"
)
_OTHER_WAY = "or make the array yourself, and hand it to dacapo.inference.prediction.predict_array"


def raw_configs(datasplit: DataSplitConfig, part: str = "train") -> list[ArrayConfig]:
    """Return the raw configs of the datasets of a data split, as far as it declares them.

    Args:
        datasplit: The data split.
        part: ``train`` or ``validate``.
    """
    datasets = getattr(datasplit, f"{part}_configs", None) or [getattr(datasplit, f"{part}_config", None)]
    found = [getattr(dataset, "raw_config", None) for dataset in datasets]
    return [config for config in found if config is not None]


def raw_chain(datasplit: DataSplitConfig, source: LocalArrayIdentifier | ArrayConfig) -> ArrayConfig:
    """Describe a volume with all that the raw data of a data split goes through before training.

    A volume of the data split gets the changes of its own dataset. For another volume all training datasets must agree,
    or exactly one of them must give the volume voxels of a size that was trained on.

    Args:
        datasplit: The data split.
        source: The volume, in any format; as a config it can say itself how to read its file.

    Raises:
        ConfigError: If the changes cannot be applied to the volume, or are ambiguous.
        ArrayNotFoundError: If the volume does not exist.
    """
    volume = source if isinstance(source, ArrayConfig) else _volume(datasplit, source)
    for leaf in leaves(volume):
        if isinstance(leaf, ZarrArrayConfig):
            find_array(leaf.file_name, leaf.dataset)  # before any other problem
    for part in ("train", "validate"):
        own = [config for config in raw_configs(datasplit, part) if source_of(volume) in _sources(config)]
        if own:
            return _only(volume, own, lambda config: _map_leaves(config, functools.partial(_own_leaf, volume)))
    configs = raw_configs(datasplit)
    if not configs:
        return volume
    configs = _without_different_offsets(configs)
    if _selects(volume):
        configs = list(map(_without_selection, configs))
    _check_readings(configs, volume)
    return _only(volume, configs, lambda config: _on_top_of(volume, config))


def _volume(datasplit: DataSplitConfig, source: LocalArrayIdentifier) -> ArrayConfig:
    """Return the config of a volume; of an image with levels, that of the voxel size trained on, or else the finest."""
    finest = config_for(source.container, source.dataset)
    levels = level_configs(source.container, dataset_name(source.dataset))
    if len(levels) < 2:
        return finest
    sizes = {voxel_size_of(leaf) for config in raw_configs(datasplit) for leaf in leaves(config)} - {None}
    return next((level for level in levels if voxel_size_of(level) in sizes), finest)


# Going through configs


def _inner(config: ArrayConfig) -> list[ArrayConfig]:
    return [inner for _, inner in configs_inside(config) if isinstance(inner, ArrayConfig)]


def leaves(config: ArrayConfig) -> Iterator[ArrayConfig]:
    """Yield the configs of the arrays that a config reads, and that read no others themselves."""
    inner = _inner(config)
    if not inner:
        yield config
    for source in inner:
        yield from leaves(source)


def _map_leaves(config: ArrayConfig, change: Change) -> ArrayConfig:
    """Return a config with its leaves replaced, and without crops."""
    if isinstance(config, CropArrayConfig):
        return _map_leaves(config.source_array_config, change)
    if not _inner(config):
        return change(config)
    return map_inner(config, lambda source: _map_leaves(source, change))


def _without_selection(config: ArrayConfig) -> ArrayConfig:
    """Return a config that selects no positions along axes."""
    if isinstance(config, SelectArrayConfig):
        return _without_selection(config.source_array_config)
    return map_inner(config, _without_selection) if _inner(config) else config


def _selects(config: ArrayConfig) -> bool:
    return isinstance(config, SelectArrayConfig) or any(map(_selects, _inner(config)))


def _sources(config: ArrayConfig) -> set[str]:
    return {source_of(leaf) for leaf in leaves(config)}


def _described(value: Any, numbers: dict[str, int] | None = None) -> str:
    """Describe how a config changes values: everything but names, crops and files.

    Which leaves are the same array is part of it; they are numbered in the order in which they come.
    """
    numbers = {} if numbers is None else numbers
    if isinstance(value, CropArrayConfig):
        return _described(value.source_array_config, numbers)
    if isinstance(value, ArrayConfig):
        if not _inner(value):
            number = numbers.setdefault(source_of(value), len(numbers))
            return ("array" if value.is_as_stored else type(value).__name__) + (f" {number + 1}" if number else "")
        fields = ((field.name, getattr(value, field.name)) for field in attrs.fields(type(value)))
        said = ", ".join(f"{name}={_described(entry, numbers)}" for name, entry in fields if name != "name")
        return f"{type(value).__name__}({said})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_described(entry, numbers)}' for key, entry in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_described(entry, numbers) for entry in value)}]"
    return repr(value)


# Choosing among the datasets


def _only(volume: ArrayConfig, configs: list[ArrayConfig], change: Change) -> ArrayConfig:
    """Return the config of a volume that follows from those of several datasets.

    Raises:
        ConfigError: If they say different things, and not only one gives voxels of a size that was trained on.
    """
    different: dict[str, ArrayConfig] = {}
    for config in configs:
        different.setdefault(_described(config), config)
    if len(different) == 1:
        return change(configs[0])
    sizes = {size for size in map(voxel_size_of, configs) if size is not None}
    fitting = []
    for config in different.values():
        try:
            found = change(config)
            fits = voxel_size_of(found) in sizes
        except ConfigError:  # another one may fit, and if none does that is an error
            fits = False
        if fits:
            fitting.append(found)
    if len(fitting) == 1:
        return fitting[0]
    raise ConfigError(
        f"the datasets that the run was trained on change raw data in different ways ({'; '.join(different)}), and "
        f"nothing says which is right for {volume.name}; train on data that is prepared in one way, {_OTHER_WAY}"
    )


def voxel_size_of(config: ArrayConfig) -> tuple[int | float, ...] | None:
    """Return the voxel size of an array in nanometers, or in its unit if that is no length; None if it cannot be read.

    A run can be applied where its data is not, and while the server of its data is down.
    """
    try:
        array: Array = config.array_type(config)
        return array.world.in_nanometers(array.voxel_size)
    except (ArrayNotFoundError, StorageError):
        return None


def _without_different_offsets(configs: list[ArrayConfig]) -> list[ArrayConfig]:
    """Return configs without the offsets of their leaves if these differ, since they are places of single files."""
    offsets = {repr(overrides_of(leaf).get("offset")) for config in configs for leaf in leaves(config)}
    if len(offsets) < 2:
        return configs
    return [_map_leaves(config, lambda leaf: without_overrides(leaf, "offset")) for config in configs]


def _check_readings(configs: list[ArrayConfig], volume: ArrayConfig) -> None:
    """Raise an error if the datasets read their files in ways that would read a volume differently."""
    different = {repr([overrides_of(leaf) for leaf in leaves(config)]): config for config in configs}
    if len(different) < 2:
        return
    arrays = [build(_on_top_of(volume, config)) for config in different.values()]
    if any((a.axes, a.voxel_size, a.roi) != (arrays[0].axes, arrays[0].voxel_size, arrays[0].roi) for a in arrays[1:]):
        raise ConfigError(
            f"the datasets that the run was trained on read their files in different ways ({'; '.join(different)}), "
            f"and nothing says which is right for {volume.name}; {_OWN_OVERRIDES}"
        )


# Putting one on top of a volume


def _own_leaf(volume: ArrayConfig, leaf: ArrayConfig) -> ArrayConfig:
    """Return the config of a leaf of the training data for reading; the volume's overrides come first."""
    if source_of(leaf) == source_of(volume):
        leaf = with_fields(leaf, overrides_of(volume))
    return with_fields(leaf, {"mode": "r"}) if isinstance(leaf, ZarrArrayConfig) else leaf


def _on_top_of(volume: ArrayConfig, config: ArrayConfig) -> ArrayConfig:
    """Apply the changes of a config to a volume.

    Raises:
        ConfigError: If a leaf may change values itself, or the volume cannot stand for all leaves.
    """
    for leaf in leaves(config):
        if not leaf.is_as_stored:
            raise ConfigError(
                f"the run was trained on {type(leaf).__name__} {leaf.name!r}, which may change values in a "
                f"way that cannot be repeated on {volume.name}; set is_as_stored = True in that class if its values "
                f"are those that are stored, {_OTHER_WAY}"
            )
    if len(_sources(config)) == 1:
        return _map_leaves(config, lambda leaf: _read_like(leaf, volume))
    found = _from_channels(volume, config) or _from_container(volume, config)
    if found is None:
        names = ", ".join(sorted({leaf.name for leaf in leaves(config)}))
        raise ConfigError(
            f"the run was trained on {type(config).__name__} {config.name!r}, made of several arrays ({names}), and "
            f"{volume.name} cannot stand for all of them; give a volume with a channel for each channel of the "
            "ConcatArrayConfig, or one in a container that holds arrays of the same names as in training, "
            f"{_OTHER_WAY}"
        )
    return found


def _read_like(leaf: ArrayConfig, volume: ArrayConfig) -> ArrayConfig:
    """Return the config of a volume that is read as a leaf says.

    Raises:
        ConfigError: If it cannot be read so.
    """
    found = _replaced_leaves(volume, functools.partial(read_like, leaf))
    try:
        build(found)
    except MetadataError as error:
        raise ConfigError(
            f"the run was trained with {_said(overrides_of(leaf))}, which {volume.name} cannot be read with: {error}; "
            f"{_OWN_OVERRIDES}"
        ) from error
    return found


def _said(overrides: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in overrides.items()) or "files that say all themselves"


def _replaced_leaves(config: ArrayConfig, change: Change) -> ArrayConfig:
    """Return a config with its leaves replaced; crops stay."""
    if not _inner(config):
        return change(config)
    return map_inner(config, lambda source: _replaced_leaves(source, change))


def _from_channels(volume: ArrayConfig, config: ArrayConfig) -> ArrayConfig | None:
    """Return a config in which each channel is made of one channel of a volume, None if the volume has others."""
    inner = _inner(config)
    if isinstance(config, CropArrayConfig):
        return _from_channels(volume, config.source_array_config)
    if not isinstance(config, ConcatArrayConfig):
        if len(inner) != 1:
            return None
        found = _from_channels(volume, inner[0])
        return None if found is None else map_inner(config, lambda _: found)
    volume = _channels_like(list(leaves(config)), volume)
    array = build(volume)
    if array.channel_axis is None or array.num_channels != len(config.channels):
        return None
    sources = {}
    for number, channel in enumerate(config.channels):
        source = config.source_array_configs.get(channel, config.default_config)
        if source is None:
            continue  # 0 in training, so 0 here
        if len(_sources(source)) > 1:
            return None
        part = ChannelArrayConfig(f"channel {number} of {volume.name}", volume, number)
        sources[channel] = _map_leaves(source, functools.partial(_instead, part))
    return attrs.evolve(config, source_array_configs=sources, default_config=None)


def _channels_like(leaves: list[ArrayConfig], volume: ArrayConfig) -> ArrayConfig:
    """Return the config of a volume with channels that is read as all leaves, its channels, say.

    Raises:
        ConfigError: If they say different things.
    """
    different = {repr(overrides_of(leaf)): leaf for leaf in leaves}
    if len(different) > 1:
        readings = "; ".join(_said(overrides_of(leaf)) for leaf in different.values())
        raise ConfigError(
            f"the run was trained on several arrays that are read in different ways ({readings}), and {volume.name} "
            f"cannot be read in all of them; {_OWN_OVERRIDES}"
        )
    leaf = leaves[0]
    axes = overrides_of(leaf).get("axes")
    if axes is not None:
        leaf = without_overrides(leaf, "axes")
        own, spatial = build(volume).axes, spatial_axes_of(axis_names(axes))
        if "c" in own and len(own) == len(spatial) + 1 and "axes" not in overrides_of(volume):
            order = iter(spatial)
            leaf = with_fields(leaf, {"axes": ["c" if axis == "c" else next(order) for axis in own]})
    return _read_like(leaf, volume)


def _instead(new: ArrayConfig, leaf: ArrayConfig) -> ArrayConfig:
    return new


def _from_container(volume: ArrayConfig, config: ArrayConfig) -> ArrayConfig | None:
    """Return a config of arrays with the names of the leaves, None if there are none of these names."""
    found = list(leaves(config))
    names = {dataset_name(leaf.dataset) for leaf in found if hasattr(leaf, "dataset")}
    files = {resolved(leaf.file_name) for leaf in found if hasattr(leaf, "file_name")}
    if len(files) != 1 or not all(hasattr(leaf, "dataset") for leaf in found):
        return None
    if dataset_name(getattr(volume, "dataset", "")) not in names:
        return None

    def there(leaf: ArrayConfig) -> ArrayConfig:
        return _read_like(leaf, with_fields(volume, {"name": leaf.name, "dataset": getattr(leaf, "dataset", "")}))

    try:
        return _map_leaves(config, there)
    except ArrayNotFoundError:
        return None
