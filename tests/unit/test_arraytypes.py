"""Array types."""

from __future__ import annotations

import pytest

from dacapo.experiments import arraytypes
from dacapo.experiments.arraytypes import ArrayType

CASES = [
    ("AnnotationArray", {"classes": {0: "background", 1: "mito"}}, False),
    ("BinaryArray", {"channels": {0: "mito"}}, False),
    ("DistanceArray", {"classes": {0: "mito"}}, True),
    ("EmbeddingArray", {"embedding_dims": 3}, True),
    ("IntensitiesArray", {"channels": {0: "raw"}, "min": 0.0, "max": 255.0}, True),
    ("Mask", {}, False),
    ("ProbabilityArray", {"classes": ["background", "mito"]}, True),
]


@pytest.mark.parametrize(("name", "fields", "interpolatable"), CASES, ids=[case[0] for case in CASES])
def test_fields_and_interpolation(name, fields, interpolatable):
    array_type = getattr(arraytypes, name)(**fields)
    assert isinstance(array_type, ArrayType)
    assert array_type.interpolatable is interpolatable
    assert all(getattr(array_type, field) == value for field, value in fields.items())


def test_base_is_abstract():
    with pytest.raises(TypeError):
        ArrayType()
    with pytest.raises(NotImplementedError):
        ArrayType.interpolatable.fget(None)
