"""Volumes in the precomputed format of neuroglancer: a folder with a file ``info``, and one folder per scale."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dacapo.utils.plain_json import parse_json

from .places import read_file

PRECOMPUTED = "neuroglancer_precomputed"


def _info(folder: Path) -> dict[str, Any]:
    """Return the description of a volume; empty if the folder is none, since other programs have such files, too."""
    try:
        info = parse_json(read_file(folder / "info") or b"null")
    except ValueError:
        return {}
    known = isinstance(info, dict) and isinstance(info.get("scales"), list) and "data_type" in info
    return info if known else {}


def precomputed_scales(folder: Path) -> list[str]:
    """Return the names of the scales of a volume, the finest first; empty if the folder is none."""
    return [str(scale["key"]) for scale in _info(folder).get("scales", [])]


def precomputed_scale(folder: Path) -> tuple[str, dict[str, Any], dict[str, Any]] | None:
    """Return format, header and attributes of the scale in a folder, or None if it holds none.

    The attributes give axes, voxel size and offset in the plain convention. Axes are ``c``, if there are several
    channels, then z, y, x.
    """
    info = _info(folder.parent)
    for number, scale in enumerate(info.get("scales", [])):
        if scale["key"] != folder.name:
            continue
        channels = int(info.get("num_channels", 1))
        axes = [*(["c"] if channels > 1 else []), "z", "y", "x"]
        size, begin = scale["resolution"][::-1], scale.get("voxel_offset", [0, 0, 0])[::-1]
        header = {
            "shape": [*([channels] if channels > 1 else []), *scale["size"][::-1]],
            "dtype": info["data_type"],
            "chunks": [_with_channels(edges, channels) for edges in scale["chunk_sizes"]],
            "scale_index": number,
            "begin": begin,
            "sharding": scale.get("sharding"),
        }
        attributes = {
            "axes": axes,
            "voxel_size": size,
            "offset": [step * first for step, first in zip(size, begin, strict=True)],
            "units": ["nm"] * 3,
        }
        return PRECOMPUTED, header, attributes
    return None


def _with_channels(edges: Any, channels: int) -> Any:
    """Return the shape of a chunk, which holds all channels."""
    return [*([channels] if channels > 1 else []), *edges[::-1]] if isinstance(edges, list) else edges


def precomputed_spec(header: Mapping[str, Any], kvstore: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec by which TensorStore opens a scale.

    Args:
        header: From :func:`precomputed_scale`.
        kvstore: Spec of the folder of the volume.
    """
    return {"driver": PRECOMPUTED, "kvstore": dict(kvstore), "scale_index": header["scale_index"]}


def in_order_of_axes(opened: Any) -> Any:
    """Return an array that TensorStore has opened with the axes c, z, y, x, or z, y, x, each beginning at 0."""
    import tensorstore

    if opened.shape[-1] == 1:
        opened = opened[..., 0]
    return opened.T[tensorstore.d[:].translate_to[0]]
