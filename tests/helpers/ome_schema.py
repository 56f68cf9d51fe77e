"""What OME-NGFF 0.4 demands of the attributes of groups, as JSON Schema and, where that cannot say it, as code."""

from __future__ import annotations

from typing import Any

import jsonschema

_NUMBERS = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 5}
_AXIS = {
    "type": "object",
    "required": ["name", "type"],
    "properties": {
        "name": {"type": "string", "minLength": 1},
        "type": {"enum": ["space", "time", "channel"]},
        "unit": {"type": "string", "minLength": 1},
    },
}
_SCALE = {"required": ["type", "scale"], "properties": {"type": {"const": "scale"}, "scale": _NUMBERS}}
_TRANSLATION = {
    "required": ["type", "translation"],
    "properties": {"type": {"const": "translation"}, "translation": _NUMBERS},
}
_LEVEL = {
    "type": "object",
    "required": ["path", "coordinateTransformations"],
    "properties": {
        "path": {"type": "string", "minLength": 1},
        "coordinateTransformations": {
            "type": "array",
            "prefixItems": [_SCALE, _TRANSLATION],
            "minItems": 1,
            "maxItems": 2,
        },
    },
}
MULTISCALES: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["multiscales"],
    "properties": {
        "multiscales": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["axes", "datasets", "version"],
                "properties": {
                    "version": {"const": "0.4"},
                    "axes": {"type": "array", "items": _AXIS, "minItems": 2, "maxItems": 5},
                    "datasets": {"type": "array", "items": _LEVEL, "minItems": 1},
                },
            },
        },
        "image-label": {
            "type": "object",
            "properties": {
                "version": {"const": "0.4"},
                "source": {"type": "object", "properties": {"image": {"type": "string"}}},
            },
        },
    },
}


def check_ome_group(attributes: dict[str, Any], ndims: dict[str, int]) -> None:
    """Check the attributes of a group.

    Args:
        attributes: The attributes.
        ndims: The number of axes of each array in the group, by name.
    """
    jsonschema.Draft202012Validator(MULTISCALES).validate(attributes)
    for image in attributes["multiscales"]:
        kinds = [axis["type"] for axis in image["axes"]]
        space = kinds.count("space")
        assert 2 <= space <= 3
        assert kinds in ([*leading, *["space"] * space] for leading in ([], ["time"], ["channel"], ["time", "channel"]))
        names = [axis["name"] for axis in image["axes"]]
        assert len(set(names)) == len(names)
        sizes = []
        for level in image["datasets"]:
            assert ndims[level["path"]] == len(names)
            scale, *more = level["coordinateTransformations"]
            assert len(scale["scale"]) == len(names)
            assert all(len(one["translation"]) == len(names) for one in more)
            sizes.append(scale["scale"])
        assert sizes == sorted(sizes)  # from the finest to the coarsest
