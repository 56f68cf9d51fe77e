"""Parameters of post-processors as plain values and as text."""

from __future__ import annotations

import json

import cattrs
import pytest
from funlib.geometry import Coordinate

from dacapo.errors import ConfigError, NotFoundError, UnknownTypeError
from dacapo.experiments.tasks.post_processors import (
    AgglomerationPostProcessorParameters,
    ArgmaxPostProcessorParameters,
    DummyPostProcessorParameters,
    PostProcessorParameters,
    ThresholdPostProcessorParameters,
    WatershedPostProcessorParameters,
)
from dacapo.experiments.tasks.post_processors.parameters_text import parse_parameters
from dacapo.store.conversion_hooks import register_hooks
from dacapo.store.converter import converter


@pytest.mark.parametrize(
    "parameters",
    [
        ArgmaxPostProcessorParameters(id=1),
        DummyPostProcessorParameters(id=2, min_size=3),
        ThresholdPostProcessorParameters(id=5, threshold=131),
        WatershedPostProcessorParameters(id=0, bias=0.25, context=Coordinate(8, 8)),
        AgglomerationPostProcessorParameters(id=3, merge_threshold=0.4, quantile=0.75, min_size=9),
    ],
)
def test_parameters_are_read_through_their_base_class(parameters):
    plain = converter.unstructure(parameters)
    assert plain["__type__"] == type(parameters).__name__
    assert converter.structure(json.loads(json.dumps(plain)), PostProcessorParameters) == parameters
    read = converter.structure([plain], list[PostProcessorParameters])
    assert str(read[0]) == str(parameters)  # names of arrays and keys of scores hold this string
    del plain["__type__"]
    assert converter.structure(plain, type(parameters)) == parameters
    other = cattrs.Converter()
    register_hooks(other)
    assert other.structure(other.unstructure(parameters), PostProcessorParameters) == parameters


def test_the_fields_of_parameters_tell_their_class_if_it_is_not_named():
    read = converter.structure({"id": 5, "threshold": 131}, PostProcessorParameters)
    assert str(read) == "ThresholdPostProcessorParameters(id=5, threshold=131)"
    for plain, message in [
        ({"id": 1, "min_size": 3}, "are those of Dummy.* and Watershed"),
        ({"__type__": "Nothing", "id": 1}, "unknown PostProcessorParameters type 'Nothing'; known are .*Threshold"),
    ]:
        with pytest.raises(UnknownTypeError, match=message):
            converter.structure(plain, PostProcessorParameters)
    for plain in ({"id": 1, "thresh": 3}, {"__type__": "ArgmaxPostProcessorParameters", "id": 1, "threshold": 2}):
        with pytest.raises(cattrs.BaseValidationError):
            converter.structure(plain, PostProcessorParameters)


TRIED = [ThresholdPostProcessorParameters(id=i, threshold=t) for i, t in enumerate((100, 127))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ThresholdPostProcessorParameters(id=5, threshold=131)", ThresholdPostProcessorParameters(5, 131)),
        (" ThresholdPostProcessorParameters( threshold = -1.5,id=0 ) ", ThresholdPostProcessorParameters(0, -1.5)),
        (str(TRIED[1]), TRIED[1]),
    ],
)
def test_parameters_as_text(text, expected):
    parsed = parse_parameters(text, TRIED)
    assert (parsed, str(parsed)) == (expected, str(expected))


def test_parameters_of_a_watershed_as_text():
    text = "WatershedPostProcessorParameters(id=7, bias=0.3, context=(8, 8, 8))"
    parsed = parse_parameters(text, [WatershedPostProcessorParameters(id=0)])
    assert parsed == WatershedPostProcessorParameters(id=7, bias=0.3, context=Coordinate(8, 8, 8))
    assert str(parsed) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "ThresholdPostProcessorParameters", "ThresholdPostProcessorParameters(5)",
        "ThresholdPostProcessorParameters(id=__import__('os').getpid())",
        "ThresholdPostProcessorParameters(id=1, id=2)", "ThresholdPostProcessorParameters(**{'id': 1})",
        "WatershedPostProcessorParameters(id=1)", "exit()",
        "ThresholdPostProcessorParameters(id=1, threshold=2); x", "(" * 5000,
    ],
)  # fmt: skip
def test_other_text_is_no_parameters_and_is_not_evaluated(text):
    with pytest.raises(
        NotFoundError, match=r"expected those that were tried, .*threshold=100\).* or others of Threshold"
    ):
        parse_parameters(text, TRIED)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("id=1, bias=2", "bias"),
        ("threshold=2", "id: this field is required"),
        ("id='a', threshold=2", "id: expected a whole number, got 'a'"),
    ],
)
def test_text_with_wrong_fields_says_which(fields, message):
    with pytest.raises(ConfigError, match=message):
        parse_parameters(f"ThresholdPostProcessorParameters({fields})", TRIED)
