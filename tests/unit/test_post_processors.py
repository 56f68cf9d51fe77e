"""Post-processors on arrays on disk, and the segmentation behind them."""

from __future__ import annotations

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from dacapo.blockwise.journal import Resume
from dacapo.blockwise.voxelwise import Threshold
from dacapo.compute_context import Execution
from dacapo.errors import BlockwiseError, ChannelMismatchError, ConfigError, OutputExistsError
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.experiments.tasks.post_processors import (
    ArgmaxPostProcessor,
    ArgmaxPostProcessorParameters,
    DummyPostProcessor,
    DummyPostProcessorParameters,
    ThresholdPostProcessor,
    ThresholdPostProcessorParameters,
    WatershedPostProcessor,
    WatershedPostProcessorParameters,
)
from dacapo.options import Options
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.blocks import BlockGrid, fit_block_shape
from dacapo.utils.largest_channel import largest_channel
from dacapo.utils.quantize import quantize
from dacapo.utils.segmentation import absorb_small, mutex_watershed
from dacapo.utils.voi import voi
from tests.helpers.golden_data import item_arrays, items
from tests.helpers.segments import noisy_cells
from tests.helpers.zarr_files import chunk_files

GOLDEN = items("post_processors")
WATERSHEDS = [name for name in GOLDEN if name.startswith("watershed_function")]
THRESHOLDS = ["threshold_channels", "threshold_plain", "threshold_high", "threshold_float"]


@pytest.fixture
def identifier(tmp_path):
    return lambda name: LocalArrayIdentifier(tmp_path / "volumes.zarr", name)


@pytest.fixture
def predict(identifier):
    """Return a function that writes a prediction, channel axis first where it has one, and returns its identifier."""

    def write(data, dims=3, voxel_size=8, offset=16, overwrite=False, **attributes):
        channels = data.ndim > dims
        axes = [*(["c"] if channels else []), *["z", "y", "x"][-dims:]]
        voxels = Coordinate((voxel_size,) * dims)
        roi = Roi((offset,) * dims, Coordinate(data.shape[-dims:]) * voxels)
        count = data.shape[0] if channels else None
        array = ZarrArray.create_from_array_identifier(
            identifier("prediction"), axes, roi, count, voxels, data.dtype, overwrite=overwrite
        )
        array[array.roi] = data
        array.add_metadata(attributes)
        return identifier("prediction")

    return write


def same_up_to_names(a, b):
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    zeros = [pair for pair in pairs.T.tolist() if 0 in pair]
    return len(pairs[0]) == len(set(pairs[0])) == len(set(pairs[1])) and all(pair == [0, 0] for pair in zeros)


# Parameters


@pytest.mark.parametrize(
    ("item", "post_processor"),
    [
        ("parameters_threshold", ThresholdPostProcessor()),
        ("parameters_argmax", ArgmaxPostProcessor()),
        ("parameters_watershed", WatershedPostProcessor([(1, 0, 0)])),
    ],
)
def test_parameters_equal_the_recorded_ones(item, post_processor):
    found = list(post_processor.enumerate_parameters())
    assert len(found) == len(GOLDEN[item]["parameters"])
    for parameters, recorded in zip(found, GOLDEN[item]["parameters"], strict=True):
        assert type(parameters).__name__ == GOLDEN[item]["parameter_type"]
        assert str(parameters) == recorded["str"]
        assert repr(parameters) == recorded["repr"]
        for name in set(recorded) - {"str", "repr", "parameter_names"}:
            value = getattr(parameters, name)
            assert (list(value) if name == "context" else value) == recorded[name]
        # The original named the id alone.
        assert parameters.parameter_names[0] == "id"
        assert set(recorded) - {"str", "repr", "parameter_names"} <= set(parameters.parameter_names)
        assert hash(parameters) == hash(
            type(parameters)(**{n: getattr(parameters, n) for n in parameters.parameter_names})
        )


def test_further_watershed_parameters_are_part_of_the_name():
    parameters = WatershedPostProcessorParameters(id=3, bias=0.5, min_size=20, long_range_bias=0.7)
    assert str(parameters) == (
        "WatershedPostProcessorParameters(id=3, bias=0.5, context=(32, 32, 32), min_size=20, long_range_bias=0.7)"
    )


@pytest.mark.parametrize("make", [ThresholdPostProcessor, lambda p: WatershedPostProcessor([(1, 0)], p)])
def test_own_parameters_are_swept(make):
    own = [ThresholdPostProcessorParameters(id=7, threshold=3)]
    assert list(make(own).enumerate_parameters()) == own


# Blocks


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 12)), min_size=1, max_size=3), st.integers(-5, 5))
def test_blocks_cover_each_voxel_once(axes, offset):
    shape, block = Coordinate(a for a, _ in axes), Coordinate(b for _, b in axes)
    voxel_size = Coordinate(range(2, 2 + len(axes)))
    roi = Roi((offset,) * len(axes), shape * voxel_size)
    seen = np.zeros(shape, int)
    for part in BlockGrid(roi, block * voxel_size):
        begin = (part.begin - roi.begin) / voxel_size
        end = (part.end - roi.begin) / voxel_size
        seen[tuple(slice(b, e) for b, e in zip(begin, end, strict=True))] += 1
    assert (seen == 1).all()


def test_block_shapes_are_adapted():
    assert fit_block_shape((64, 128, 256), (1000, 1000)) == (128, 256)
    assert fit_block_shape((64, 128), (1000, 1000, 1000)) == (64, 64, 128)
    assert fit_block_shape((256, 256, 256), (10, 500, 300)) == (10, 256, 256)
    with pytest.raises(ConfigError, match=r"\(0, 4\)"):
        fit_block_shape((0, 4), (10, 10))


# Threshold and argmax


def check_output(array, recorded):
    assert array.axes == recorded["output_axes"]
    assert array.voxel_size == tuple(recorded["output_voxel_size"])
    assert array.roi == Roi(recorded["output_roi"]["offset"], recorded["output_roi"]["shape"])
    assert array.dtype == np.dtype(recorded["output_dtype"])
    assert array.num_channels == recorded["num_channels"]
    assert list(array.data.chunks) == recorded["output_chunks"]


@pytest.mark.parametrize("item", THRESHOLDS)
def test_threshold_equals_the_recorded_values(predict, identifier, item):
    data = item_arrays("post_processors", item)
    post_processor = ThresholdPostProcessor()
    post_processor.set_prediction(predict(data["prediction"]))
    parameters = ThresholdPostProcessorParameters(id=0, threshold=GOLDEN[item]["threshold"])
    output = post_processor.process(parameters, identifier("output"), num_workers=2)
    check_output(output, GOLDEN[item])
    np.testing.assert_array_equal(output[output.roi], data["output"])
    # Written, not only returned; and processing again replaces it.
    stored = ZarrArray.open_from_array_identifier(identifier("output"))
    np.testing.assert_array_equal(stored[stored.roi], data["output"])
    post_processor.process(parameters, identifier("output"))


@pytest.mark.parametrize("block", [(5, 9, 9), (1, 7, 24), (16, 24, 24), (3, 100, 5)])
@pytest.mark.parametrize("item", ["threshold_uneven_blocks", "threshold_channels"])
def test_threshold_does_not_depend_on_blocks(predict, identifier, item, block):
    """The original left the far edges at 0 where blocks did not fit."""
    data = item_arrays("post_processors", item)
    post_processor = ThresholdPostProcessor()
    post_processor.set_prediction(predict(data["prediction"]))
    parameters = ThresholdPostProcessorParameters(id=0, threshold=127)
    output = post_processor.process(parameters, identifier("output"), num_workers=3, block_size=Coordinate(block))
    np.testing.assert_array_equal(output[output.roi], data["prediction"] > 127)


def test_threshold_in_2d(predict, identifier):
    data = np.random.default_rng(0).integers(0, 256, (2, 30, 40), dtype=np.uint8)
    post_processor = ThresholdPostProcessor()
    post_processor.set_prediction(predict(data, dims=2))
    output = post_processor.process(
        ThresholdPostProcessorParameters(0, 99), identifier("output"), block_size=Coordinate(4, 16, 16)
    )
    assert output.data.chunks == (2, 16, 16)
    np.testing.assert_array_equal(output[output.roi], data > 99)


@pytest.mark.parametrize(
    ("dtype", "attributes", "threshold", "message"),
    [
        (np.float32, {"value_range": [-1, 1]}, 256, r"256 levels of uint8.*\(-1\) and 255.*\(1\)"),
        (np.float32, {"value_range": [-1, 1]}, -0.5, "-0.5"),
        (np.uint8, {"value_range": [0, 1]}, 256, "256 levels"),
        (np.uint8, {}, 256, "uint8.*0 to 255"),
    ],
)
def test_threshold_outside_the_values_is_refused(predict, identifier, dtype, attributes, threshold, message):
    post_processor = ThresholdPostProcessor()
    post_processor.set_prediction(predict(np.zeros((4, 4), dtype), dims=2, **attributes))
    with pytest.raises(ConfigError, match=message):
        post_processor.process(ThresholdPostProcessorParameters(0, threshold), identifier("output"))


@pytest.mark.parametrize("value_range", [(-1.0, 1.0), (0.0, 1.0), (-3.0, 7.0)])
@pytest.mark.parametrize(("dtype", "precision"), [(np.float16, 0.2), (np.float32, 1e-3), (np.uint16, 1e-2)])
def test_thresholds_mean_the_same_whatever_the_prediction_is_stored_as(
    identifier, predict, dtype, precision, value_range
):
    low, high = value_range
    values = np.random.default_rng(0).uniform(low, high, (2, 60, 80)).astype(np.float16)
    # Values as close to the middle between two levels as the type is precise may fall on either side.
    distance = abs((values.astype(float) - low) / (high - low) * 255 % 1 - 0.5)
    outputs = []
    for stored_as in (np.uint8, dtype):
        post_processor = ThresholdPostProcessor()
        post_processor.set_prediction(
            predict(quantize(values, value_range, stored_as), dims=2, overwrite=True, value_range=value_range)
        )
        outputs.append(
            [
                post_processor.process(p, identifier(f"output_{p.id}"))[post_processor.prediction_array.roi]
                for p in post_processor.enumerate_parameters()
            ]
        )
    for expected, found in zip(*outputs, strict=True):
        assert 0.2 < expected.mean() < 0.8
        np.testing.assert_array_equal(found[distance > precision], expected[distance > precision])


@pytest.mark.parametrize("value_range", [None, [-1.0, 1.0], [0.0, 1.0]])
def test_half_precision_is_compared_in_single_precision(predict, identifier, value_range):
    values = np.arange(0, 0x3C00, dtype=np.uint16).view(np.float16).reshape(1, -1, 16)  # all from 0 to 1
    predict(values, **({} if value_range is None else {"value_range": value_range}))
    levels = [0.1, 0.3, 0.394, 0.59] if value_range is None else [130, 150, 181, 203]
    post_processor = ThresholdPostProcessor()
    post_processor.set_prediction(identifier("prediction"))
    differ = 0
    for number, level in enumerate(levels):
        low, high = value_range or (0, 1)
        limit = np.float32(level if value_range is None else low + (level + 0.5) / 255 * (high - low))
        parameters = ThresholdPostProcessorParameters(number, level)
        found = post_processor.process(parameters, identifier(f"output{number}"), num_workers=1)
        np.testing.assert_array_equal(found[found.roi], values.astype(np.float32) > limit)
        differ += np.count_nonzero((values > float(limit)) != (values.astype(np.float32) > limit))
    assert differ  # such levels are among them

    dummy = DummyPostProcessor(detection_threshold=0.3001)  # next to no value of half precision
    dummy.set_prediction(identifier("prediction"))
    found = dummy.process(DummyPostProcessorParameters(0, 1), identifier("dummy"))
    np.testing.assert_array_equal(found[found.roi] > 0, values.astype(np.float32) >= np.float32(0.3001))


def test_a_threshold_that_looks_like_a_value_is_pointed_out(predict, identifier, caplog):
    post_processor = ThresholdPostProcessor()
    post_processor.set_prediction(predict(np.zeros((4, 4), np.float32), dims=2, value_range=[0, 1]))
    post_processor.process(ThresholdPostProcessorParameters(0, 0.5), identifier("output"))
    assert "threshold 0.5 is a level from 0 to 255" in caplog.text


@pytest.mark.parametrize("block", [(256, 256, 256), (5, 9, 9)])
def test_argmax_equals_the_recorded_values(predict, identifier, block):
    data = item_arrays("post_processors", "argmax")
    post_processor = ArgmaxPostProcessor()
    post_processor.set_prediction(predict(data["prediction"]))
    (parameters,) = post_processor.enumerate_parameters()
    output = post_processor.process(parameters, identifier("output"), num_workers=2, block_size=Coordinate(block))
    if block[0] == 256:
        check_output(output, GOLDEN["argmax"])
    np.testing.assert_array_equal(output[output.roi], data["output"])


@pytest.mark.parametrize(("channels", "dtype"), [(256, np.uint8), (257, np.uint16)])
def test_argmax_of_many_channels(predict, identifier, channels, dtype):
    data = np.zeros((channels, 2, 2), np.float32)
    data[-1] = 1
    post_processor = ArgmaxPostProcessor()
    post_processor.set_prediction(predict(data, dims=2))
    output = post_processor.process(ArgmaxPostProcessorParameters(1), identifier("output"))
    assert output.dtype == dtype
    assert (output[output.roi] == channels - 1).all()


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "uint64", ">i2", "float16", "float32", "float64"])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("channels", [1, 2, 5, 256, 257])
def test_largest_channel_is_that_of_numpy(channels, axis, dtype):
    rng = np.random.default_rng(0)
    shape = [7, 30]
    shape.insert(axis, channels)
    values = rng.integers(0, 4, shape).astype(dtype)  # so few that most voxels have ties
    if values.dtype.kind in "fi":
        values -= 2
    if values.dtype.kind == "f":
        for special in (-0.0, np.inf, -np.inf, np.nan):
            values[rng.random(shape) < 0.3 / channels] = special
    before = values.copy()
    np.testing.assert_array_equal(largest_channel(values, axis), np.argmax(values, axis))
    np.testing.assert_array_equal(values, before)


def test_argmax_of_one_channel(predict, identifier):
    post_processor = ArgmaxPostProcessor()
    for number, shape in enumerate([(4, 5, 6), (1, 4, 5, 6)]):
        post_processor.set_prediction(predict(np.ones(shape, np.uint8), overwrite=bool(number)))
        output = post_processor.process(ArgmaxPostProcessorParameters(1), identifier(str(number)), num_workers=1)
        assert (output.axes, output.dtype) == (["z", "y", "x"], np.uint8)
        np.testing.assert_array_equal(output[output.roi], np.zeros((4, 5, 6)))


@pytest.mark.parametrize(
    "post_processor", [ThresholdPostProcessor(), ArgmaxPostProcessor(), WatershedPostProcessor([(1, 0)])]
)
def test_a_prediction_must_be_set(post_processor, identifier):
    (parameters, *_) = post_processor.enumerate_parameters()
    with pytest.raises(ConfigError, match="set_prediction"):
        post_processor.process(parameters, identifier("output"))


def test_failing_block_fails_the_call(predict, identifier, tmp_path):
    post_processor = ThresholdPostProcessor()
    post_processor.set_prediction(predict(np.ones((8, 8), np.uint8), dims=2))
    chunk = chunk_files(tmp_path / "volumes.zarr" / "prediction")[0]
    chunk.write_bytes(b"damaged")
    with pytest.raises(BlockwiseError, match=f"chunk {chunk} is damaged"):
        post_processor.process(ThresholdPostProcessorParameters(0, 0), identifier("output"))


# Watershed


@pytest.mark.parametrize("item", WATERSHEDS)
def test_watershed_equals_the_recorded_labels(item):
    data, about = item_arrays("post_processors", item), GOLDEN[item]
    labels = mutex_watershed(data["prediction"], about["offsets"], about["bias"])
    assert labels.dtype == np.uint64
    assert np.unique(labels).tolist() == list(range(about["number_of_labels"] + 1))
    assert same_up_to_names(labels, data["output"])


def test_watershed_writes_labels(predict, identifier):
    """Compared with the recorded function, since recording the post-processor itself failed."""
    data, about = item_arrays("post_processors", "watershed_function_bias_0.5"), GOLDEN["watershed_process"]
    descriptors = np.zeros((10, *data["prediction"].shape[1:]), np.float32)
    post_processor = WatershedPostProcessor(about["offsets"])
    post_processor.set_prediction(predict(np.concatenate([data["prediction"], descriptors])))
    parameters = list(post_processor.enumerate_parameters())[2]
    output = post_processor.process(parameters, identifier("output"), block_size=Coordinate(8, 8, 8))
    assert output.axes == ["z", "y", "x"]
    assert output.dtype == np.uint64
    assert output.data.chunks == (8, 8, 8)
    assert same_up_to_names(output[output.roi], data["output"])


def two_squares(dims):
    """Return affinities of two objects side by side, and the objects."""
    labels = np.ones((12,) * dims, np.uint64)
    labels[..., 6:] = 2
    offsets = [*np.eye(dims, dtype=int).tolist(), *(3 * np.eye(dims, dtype=int)).tolist()]
    affinities = np.zeros((len(offsets), *labels.shape), np.float32)
    for channel, offset in zip(affinities, offsets, strict=True):
        here = tuple(slice(0, 12 - o) for o in offset)
        there = tuple(slice(o, 12) for o in offset)
        channel[here] = labels[here] == labels[there]
    return affinities, offsets, labels


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("dtype", "value_range"), [(np.float32, None), (np.uint8, None), (np.uint8, [0.0, 1.0])])
def test_watershed_of_perfect_affinities(predict, identifier, dims, dtype, value_range):
    affinities, offsets, labels = two_squares(dims)
    stored = affinities.astype(dtype) * (255 if dtype == np.uint8 else 1)
    attributes = {} if value_range is None else {"value_range": value_range}
    post_processor = WatershedPostProcessor(offsets)
    post_processor.set_prediction(predict(stored.astype(dtype), dims=dims, **attributes))
    output = post_processor.process(WatershedPostProcessorParameters(id=0, bias=0.5), identifier("output"))
    assert same_up_to_names(output[output.roi], labels)


def several(predict):
    """Return a post-processor with a noisy prediction in uint8, and several parameters."""
    affinities, offsets, _ = two_squares(2)
    noisy = affinities * 150 + np.random.default_rng(0).integers(0, 100, affinities.shape)
    post_processor = WatershedPostProcessor(offsets)
    post_processor.set_prediction(predict(noisy.astype(np.uint8), dims=2, value_range=[0.0, 1.0]))
    more = WatershedPostProcessorParameters(id=7, bias=0.4, long_range_bias=0.6, min_size=3)
    return post_processor, [*post_processor.enumerate_parameters(), more]


@pytest.mark.parametrize("count", [5, 6])
def test_watersheds_together_equal_those_one_by_one(predict, identifier, count):
    post_processor, parameters = several(predict)
    outputs = [identifier(f"together_{k}") for k in range(count)]
    done = []
    for index, _ in post_processor.process_all(parameters[:count], outputs):
        done.append(index)
        output = ZarrArray.open_from_array_identifier(outputs[index])
        alone = post_processor.process(parameters[index], identifier("alone"))
        np.testing.assert_array_equal(output[output.roi], alone[alone.roi])
    assert sorted(done) == list(range(count))


def in_blocks(post_processor, identifier, parameters, block, **kwargs):
    """Return the labels of a volume that is segmented in blocks."""
    post_processor.whole_voxels = 0
    block_size = Coordinate((block,) * post_processor.prediction_array.dims)
    output = post_processor.process(parameters, identifier("blocks"), block_size=block_size, **kwargs)
    return output[output.roi]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("min_size", [0, 30])
def test_blocks_that_see_all_give_the_whole(options, predict, identifier, dims, min_size):
    affinities, offsets = noisy_cells(24 if dims == 2 else 14, dims)
    post_processor = WatershedPostProcessor(offsets)
    post_processor.set_prediction(predict(affinities, dims=dims))
    context = Coordinate(24, 24, 24)
    parameters = WatershedPostProcessorParameters(id=0, bias=0.5, context=context, min_size=min_size)
    whole = post_processor.process(parameters, identifier("whole"))
    labels = in_blocks(post_processor, identifier, parameters, 9, num_workers=1)
    assert 3 < labels.max() == len(np.unique(labels[labels > 0]))
    assert same_up_to_names(labels, whole[whole.roi])


def test_blocks_agree_the_better_the_more_they_see(options, predict, identifier):
    affinities, offsets = noisy_cells(80, 2)
    noise = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal(affinities.shape), (0, 2, 2))
    affinities = (affinities + 0.25 * noise / noise.std()).clip(0, 1).astype(np.float32)
    post_processor = WatershedPostProcessor(offsets)
    post_processor.set_prediction(predict(affinities, dims=2))
    parameters = [WatershedPostProcessorParameters(id=0, context=Coordinate((c,) * 3)) for c in (0, 4, 16, 80)]
    whole = post_processor.process(parameters[0], identifier("whole"))
    whole = whole[whole.roi]
    distances = []
    for one in parameters:
        labels = in_blocks(post_processor, identifier, one, 20, num_workers=1)
        distances.append(sum(voi(labels, whole, ignore_groundtruth=())))
    assert distances[0] > distances[1] > distances[2]
    assert distances[3] < 1e-9


def test_blocks_need_offsets_of_the_volume(options, predict, identifier):
    post_processor = WatershedPostProcessor([(1, 0, 0), (0, 0, 1)])
    post_processor.set_prediction(predict(np.zeros((2, 8, 8), np.float32), dims=2))
    with pytest.raises(ConfigError, match=r"\(1, 0, 0\).*2 axes"):
        in_blocks(post_processor, identifier, WatershedPostProcessorParameters(id=0), 4)


def test_blocks_do_not_depend_on_workers_and_go_on(options, predict, identifier):
    affinities, offsets = noisy_cells(40, 2)
    post_processor = WatershedPostProcessor(offsets)
    post_processor.set_prediction(predict((affinities * 255).astype(np.uint8), dims=2, value_range=[0.0, 1.0]))
    parameters = WatershedPostProcessorParameters(id=0, bias=0.4, long_range_bias=0.6, context=Coordinate(3, 3, 3))
    alone = in_blocks(post_processor, identifier, parameters, 16, num_workers=1)
    Options.instance(compute_context={"type": "LocalTorch", "config": {"distribute_workers": True}})
    with_journal = Execution(2, overwrite=False, resume=Resume.ALWAYS)
    with pytest.raises(OutputExistsError):
        in_blocks(post_processor, identifier, parameters, 16, execution=with_journal)
    others = in_blocks(post_processor, identifier, parameters, 16, num_workers=2)
    np.testing.assert_array_equal(others, alone)


def test_only_volumes_above_the_limit_are_segmented_in_blocks(options, predict, identifier):
    post_processor, parameters = several(predict)
    calls = []
    post_processor._segment_in_blocks = lambda *args: calls.append(args[0])
    post_processor.whole_voxels = 144  # 12^2
    post_processor.process(parameters[0], identifier("whole"))
    assert calls == []
    post_processor.whole_voxels = 143
    post_processor.process(parameters[0], identifier("blocks"))
    list(post_processor.process_all(parameters[1:3], [identifier("a"), identifier("b")]))
    assert calls == parameters[:3]


def test_other_post_processors_go_through_parameters_one_by_one(predict, identifier):
    post_processor = ThresholdPostProcessor()
    post_processor.set_prediction(predict(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4, dims=2))
    parameters = list(post_processor.enumerate_parameters())
    outputs = [identifier(f"{k}") for k in range(3)]
    sums = {index: output[output.roi].sum() for index, output in post_processor.process_all(parameters, outputs)}
    assert sums == {0: 38, 1: 32, 2: 26}


def test_a_watershed_of_another_kind_is_not_passed_over(predict, identifier):
    class Other(WatershedPostProcessor):
        def process(self, parameters, output_array_identifier, num_workers=16):
            return parameters.id

    post_processor, parameters = several(predict)
    other = Other(post_processor.offsets)
    outputs = [identifier("a"), identifier("b")]
    assert list(other.process_all(parameters[1:3], outputs)) == [(0, 1), (1, 2)]


def test_fewer_channels_than_offsets_are_refused(predict):
    post_processor = WatershedPostProcessor([(1, 0), (0, 1), (3, 0)])
    with pytest.raises(ChannelMismatchError, match=r"2 channels.*3 offsets"):
        post_processor.set_prediction(predict(np.zeros((2, 4, 4), np.float32), dims=2))
    with pytest.raises(ChannelMismatchError, match=r"2 channels.*3 offsets"):
        mutex_watershed(np.zeros((2, 4, 4)), post_processor.offsets, 0.5)


def test_offsets_of_another_number_of_axes_are_refused():
    with pytest.raises(ConfigError, match=r"\(1, 0, 0\).*2 axes"):
        mutex_watershed(np.zeros((1, 4, 4)), [(1, 0, 0)], 0.5)
    with pytest.raises(ConfigError, match="no offsets"):
        mutex_watershed(np.zeros((1, 4, 4)), [], 0.5)


def test_long_range_bias_moves_only_long_offsets():
    affinities, offsets, _ = two_squares(2)
    # Uncertain everywhere over the long distance; direct neighbors would let all run together.
    affinities[:2], affinities[2:] = 0.6, 0.45
    assert mutex_watershed(affinities, offsets, 0.4, long_range_bias=0.4).max() == 1
    assert mutex_watershed(affinities, offsets, 0.4, long_range_bias=0.9).max() > 1
    assert same_up_to_names(mutex_watershed(affinities, offsets, 0.4, 0.4), mutex_watershed(affinities, offsets, 0.4))


def test_watershed_leaves_its_input_alone():
    affinities, offsets, _ = two_squares(2)
    before = affinities.copy()
    mutex_watershed(affinities, offsets, 0.5, min_size=5)
    np.testing.assert_array_equal(affinities, before)


def test_small_segments_are_absorbed_or_removed():
    labels = np.array(
        [
            [1, 1, 1, 2, 3, 3, 3, 0],
            [1, 1, 1, 2, 3, 3, 3, 0],
            [1, 1, 1, 5, 3, 3, 3, 0],
            [0, 0, 0, 0, 0, 0, 0, 4],
        ]
    )
    result = absorb_small(labels, 3)
    np.testing.assert_array_equal(result[labels == 1], 1)
    np.testing.assert_array_equal(result[labels == 3], 3)
    assert set(result[:3, 3]) <= {1, 3}
    assert result[3, 7] == 0, "nothing touches it"
    np.testing.assert_array_equal(absorb_small(labels, 1), labels)


def test_growing_goes_through_small_segments_to_those_behind():
    labels = np.array([[1, 1, 1, 2, 2, 3, 3, 0, 4]])
    assert absorb_small(labels, 3).tolist() == [[1, 1, 1, 1, 1, 1, 1, 0, 0]]


@given(arrays(np.uint32, (6, 7), elements=st.integers(0, 5)), st.integers(0, 12))
def test_absorbing_keeps_large_segments_and_leaves_no_small_one(labels, min_size):
    sizes = np.bincount(labels.ravel(), minlength=6)
    result = absorb_small(labels, min_size)
    large = (sizes[labels] >= min_size) & (labels > 0)
    np.testing.assert_array_equal(result[large], labels[large])
    assert not result[labels == 0].any()
    assert set(np.unique(result)) - {0} == set(np.unique(labels[large]))
    # What is left over touches no segment that could have taken it.
    parts, _ = ndimage.label(labels > 0)
    lost = (labels > 0) & (result == 0)
    assert not set(parts[lost]) & set(parts[large])


def test_segments_grow_into_the_background_at_the_same_pace():
    labels = np.array([[0, 1, 1, 0, 0, 0, 0, 2, 2, 0]])
    assert absorb_small(labels, 0, fill_background=True).tolist() == [[1, 1, 1, 1, 1, 2, 2, 2, 2, 2]]
    assert absorb_small(labels, 0).tolist() == labels.tolist()
    assert not absorb_small(np.zeros_like(labels), 3, fill_background=True).any()
    # A small segment takes part in nothing, and is reached through the background.
    small = np.array([[1, 1, 1, 0, 0, 2, 0]])
    assert absorb_small(small, 2, fill_background=True).tolist() == [[1] * 7]


@given(arrays(np.uint32, (6, 7), elements=st.integers(0, 5)), st.integers(0, 12))
def test_filling_leaves_no_background_and_keeps_large_segments(labels, min_size):
    sizes = np.bincount(labels.ravel(), minlength=6)
    result = absorb_small(labels, min_size, fill_background=True)
    large = (sizes[labels] >= min_size) & (labels > 0)
    np.testing.assert_array_equal(result[large], labels[large])
    assert (result > 0).all() == large.any()


def test_a_filled_mutex_watershed_keeps_its_segments():
    data, about = item_arrays("post_processors", "watershed_function_bias_0.25"), GOLDEN["watershed_function_bias_0.25"]
    before = mutex_watershed(data["prediction"], about["offsets"], 0.25, min_size=50)
    after = mutex_watershed(data["prediction"], about["offsets"], 0.25, min_size=50, fill_background=True)
    assert (before == 0).any()
    assert (after > 0).all()
    kept = before > 0
    pairs = np.unique(np.stack([before[kept], after[kept]]), axis=1)
    # Only small segments are reached by other ways than before.
    large = np.bincount(mutex_watershed(data["prediction"], about["offsets"], 0.25).ravel().astype(int))[1:] >= 50
    assert len(np.unique(after)) == large.sum() == len(np.unique(pairs[0]))


def test_watershed_labels_are_dense_after_absorbing():
    data, about = item_arrays("post_processors", "watershed_function_bias_0.25"), GOLDEN["watershed_function_bias_0.25"]
    labels = mutex_watershed(data["prediction"], about["offsets"], 0.25, min_size=50)
    sizes = np.bincount(labels.ravel().astype(int))[1:]
    assert 0 < len(sizes) < about["number_of_labels"]
    assert sizes.min() >= 50


# Dummy


def test_dummy_drops_small_detections(predict, identifier):
    data = np.zeros((1, 5, 5), np.float32)
    data[0, 0, :3] = data[0, 4, 4] = 1
    post_processor = DummyPostProcessor(0.5)
    post_processor.set_prediction(predict(data, dims=2))
    assert len(list(post_processor.enumerate_parameters())) == 10
    output = post_processor.process(DummyPostProcessorParameters(id=0, min_size=2), identifier("output"), 4)
    np.testing.assert_array_equal(output[output.roi] > 0, (data[0] > 0) & (np.arange(5)[:, None] == 0))


class Recording(ThresholdPostProcessor):
    """A post-processor of another package, whose methods take what the interface asks for and no more."""

    def process(self, parameters, output_array_identifier, num_workers=16):
        self.calls.append(num_workers)
        return super().process(parameters, output_array_identifier, num_workers)

    def process_all(self, parameters, output_array_identifiers, num_workers=16):
        return super().process_all(parameters, output_array_identifiers, num_workers)


def test_a_method_is_handed_only_what_it_declares(predict, identifier):
    post_processor = Recording()
    post_processor.calls = []
    post_processor.set_prediction(predict(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4, dims=2))
    first, *others = post_processor.enumerate_parameters()
    execution = Execution(2, 2**30, overwrite=False, resume=Resume.ALWAYS)
    post_processor.process_within(first, identifier("one"), execution)
    list(post_processor.process_all_within(others, [identifier("a"), identifier("b")], execution))
    assert post_processor.calls == [2, 2, 2]


@pytest.mark.parametrize("max_retries", [0, 3])
def test_a_post_processor_is_handed_the_whole_execution(predict, identifier, monkeypatch, max_retries):
    def fail(*_):
        attempts.append(1)
        raise ValueError("this block cannot be done")

    attempts = []
    monkeypatch.setattr(Threshold, "compute", fail)
    post_processor = ThresholdPostProcessor()
    post_processor.set_prediction(predict(np.arange(64, dtype=np.uint8).reshape(8, 8), dims=2))
    with pytest.raises(BlockwiseError, match="this block cannot be done"):
        post_processor.process_within(
            ThresholdPostProcessorParameters(id=0), identifier("x"), Execution(1, max_retries=max_retries)
        )
    assert len(attempts) == max_retries + 1


def test_a_watershed_of_another_kind_that_declares_nothing_gets_no_limits(predict, identifier):
    class Other(WatershedPostProcessor):
        def process(self, parameters, output_array_identifier, num_workers=16):
            return parameters.id, num_workers

    post_processor, parameters = several(predict)
    other = Other(post_processor.offsets)
    execution = Execution(3, 2**30, resume=Resume.ALWAYS)
    assert other.process_within(parameters[1], identifier("a"), execution) == (1, 3)
    assert list(other.process_all_within(parameters[1:2], [identifier("a")], execution)) == [(0, (1, 3))]
