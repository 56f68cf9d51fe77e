"""Predictors against recorded targets, weights and regions."""

from __future__ import annotations

import gunpowder as gp
import numpy as np
import pytest
import torch
from funlib.geometry import Coordinate, Roi
from scipy.ndimage import binary_erosion

from dacapo.errors import ChannelMismatchError, ConfigError, DtypeError, RoiError
from dacapo.experiments.arraytypes import DistanceArray, EmbeddingArray, ProbabilityArray
from dacapo.experiments.datasplits.datasets.arrays import NumpyArray
from dacapo.experiments.tasks import predictors
from dacapo.experiments.tasks.predictors import (
    AffinitiesPredictor,
    DistancePredictor,
    DummyPredictor,
    HotDistancePredictor,
    InnerDistancePredictor,
    OneHotPredictor,
    Predictor,
)
from dacapo.testing.task import Body, array
from dacapo.utils.balance_weights import balance_weights
from tests.helpers.golden_data import item_arrays, items

AFFINITIES = items("affinities_predictor")
DISTANCES = items("distance_predictors")


def recorded_array(item, data):
    voxel_size = Coordinate(item["voxel_size"])
    offset = Coordinate(item["roi"]["offset"]) if "roi" in item else voxel_size * 3
    return array(data, voxel_size, offset)


def roi_of(entry):
    return Roi(entry["offset"], entry["shape"])


def target_spec(item):
    return gp.ArraySpec(roi=roi_of(item["target_roi"]), voxel_size=Coordinate(item["target_voxel_size"]))


def affinities_predictor(item):
    return AffinitiesPredictor([Coordinate(offset) for offset in item["neighborhood"]], **item["parameters"])


def distance_predictor(item):
    return getattr(predictors, item["predictor"])(**item["parameters"])


def calls(arrays):
    return [call for call in range(3) if f"weight{call}" in arrays]


@pytest.mark.parametrize("predictor", [AffinitiesPredictor([Coordinate(1, 0, 0)]), DistancePredictor(["a"], 5.0, True)])
def test_context_in_world_units_needs_a_voxel_size(predictor):
    with pytest.raises(RoiError, match="no voxel size"):
        predictor.gt_region_for_roi(gp.ArraySpec(roi=Roi((0, 0, 0), (1, 1, 1))))


def test_a_plain_roi_counts_voxels():
    roi = Roi((0, 0, 0), (8, 8, 8))
    assert DistancePredictor(["a"], 2.5, True).gt_region_for_roi(roi) == Roi((-3, -3, -3), (14, 14, 14))
    predictor = AffinitiesPredictor([Coordinate(2, 0, 0), Coordinate(0, -3, 0)], lsds=False)
    assert predictor.gt_region_for_roi(roi) == Roi((0, -3, 0), (10, 11, 8))
    assert DummyPredictor(1).gt_region_for_roi(roi) == roi


class TestAffinities:
    @pytest.mark.parametrize("name", AFFINITIES)
    def test_targets_match_recorded(self, name):
        item, arrays = AFFINITIES[name], item_arrays("affinities_predictor", name)
        if "grow_boundary" in name:
            # Recorded with no effect of growing boundaries; see test_boundaries_grow for what it should do.
            item = {**item, "parameters": {"lsds": False}}
        predictor, count = affinities_predictor(item), len(item["neighborhood"])
        target = predictor.create_target(recorded_array(item, arrays["gt0"]))
        assert target.axes == item["target_axes"]
        assert target.dtype == arrays["target0"].dtype
        np.testing.assert_array_equal(target.data[:count], arrays["target0"][:count])
        # The recorded descriptors are off by up to 1.3e-4, by rounding; see test_lsds for their definition.
        np.testing.assert_allclose(target.data[count:], arrays["target0"][count:], atol=2e-4)

    @pytest.mark.parametrize("name", [name for name in AFFINITIES if name != "channel_gt_2d"])
    def test_weights_match_recorded(self, name):
        item, arrays = AFFINITIES[name], item_arrays("affinities_predictor", name)
        predictor, counts = affinities_predictor(item), None
        for call in calls(arrays):
            gt, target, mask = (recorded_array(item, arrays[f"{kind}{call}"]) for kind in ("gt", "target", "mask"))
            weight, counts = predictor.create_weight(gt, target, mask, counts)
            assert weight.axes == item["weight_axes"]
            assert weight.roi == roi_of(item["weight_roi"])
            np.testing.assert_allclose(weight.data, arrays[f"weight{call}"], rtol=1e-6)
            np.testing.assert_allclose(np.array(counts[0]), arrays[f"aff_counts{call}"], rtol=1e-9)
            if f"lsd_counts{call}" in arrays:
                np.testing.assert_allclose(np.array(counts[1]), arrays[f"lsd_counts{call}"], rtol=1e-9)
            else:
                assert counts[1] is None

    @pytest.mark.parametrize("name", [name for name in AFFINITIES if name != "channel_gt_2d"])
    def test_description_matches_recorded(self, name):
        item = AFFINITIES[name]
        predictor, voxel_size = affinities_predictor(item), Coordinate(item["voxel_size"])
        assert predictor.num_channels == len(predictor.channel_names) == item["num_channels"]
        assert predictor.dims == item["dims"]
        assert predictor.output_array_type == EmbeddingArray(item["output_array_type"]["embedding_dims"])
        if "sigma" in item:
            assert predictor.sigma(voxel_size) == Coordinate(item["sigma"])
            assert predictor.lsd_pad(voxel_size) == Coordinate(item["lsd_pad"])

    @pytest.mark.parametrize("name", ["lsds_3d", "lsds_downsampled_2d"])
    def test_region_matches_recorded(self, name):
        item = AFFINITIES[name]
        assert affinities_predictor(item).gt_region_for_roi(target_spec(item)).roi == roi_of(item["gt_roi"])

    @pytest.mark.parametrize(
        ("name", "before", "after"),
        [
            ("plain_3d", (0, 0, 40), (16, 40, 8)),
            ("plain_2d", (20, 0), (4, 4)),
            ("lsds_2d", (36, 36), (36, 36)),
            ("grow_boundary_2d", (8, 8), (12, 12)),
        ],
    )
    def test_region_reaches_all_partners(self, name, before, after):
        # Recorded regions are cut where backward offsets should widen them, and growing boundaries asks for nothing.
        item = AFFINITIES[name]
        region = affinities_predictor(item).gt_region_for_roi(target_spec(item))
        assert region.roi == roi_of(item["target_roi"]).grow(Coordinate(before), Coordinate(after))

    @pytest.mark.parametrize("lsds", [False, True])
    @pytest.mark.parametrize("grow", [0, 2])
    def test_region_is_all_that_a_target_depends_on(self, lsds, grow):
        voxel_size = Coordinate(4, 6)
        rng = np.random.default_rng(0)
        labels = np.kron(rng.integers(0, 9, (10, 10)), np.ones((5, 5), dtype=int)).astype(np.uint32)
        predictor = AffinitiesPredictor(
            [Coordinate(1, 0), Coordinate(0, -3), Coordinate(-2, 4)],
            lsds=lsds,
            num_voxels=2,
            grow_boundary_iterations=grow,
        )
        whole = array(labels, voxel_size)
        roi = Roi(voxel_size * 21, voxel_size * 8)
        region = predictor.gt_region_for_roi(gp.ArraySpec(roi=roi, voxel_size=voxel_size)).roi
        part = NumpyArray.from_np_array(whole[region], region, voxel_size, whole.axes)
        np.testing.assert_allclose(predictor.create_target(part)[roi], predictor.create_target(whole)[roi], atol=1e-4)

    def test_boundaries_grow(self):
        # Recorded is no effect at all; the objects must shrink, but not at the border of the volume.
        arrays = item_arrays("affinities_predictor", "grow_boundary_2d")
        labels = arrays["gt0"]
        shrunk = np.zeros_like(labels)
        for label in np.unique(labels[labels > 0]):
            shrunk[binary_erosion(labels == label, iterations=2, border_value=1)] = label
        neighborhood = [Coordinate(1, 0), Coordinate(0, 1)]
        grown = AffinitiesPredictor(neighborhood, lsds=False, grow_boundary_iterations=2)
        plain = AffinitiesPredictor(neighborhood, lsds=False)
        result = grown.create_target(array(labels, Coordinate(4, 4))).data
        np.testing.assert_array_equal(result, plain.create_target(array(shrunk, Coordinate(4, 4))).data)
        assert result.sum() < plain.create_target(array(labels, Coordinate(4, 4))).data.sum()

    def test_descriptors_see_an_isotropic_sphere_in_whole_voxels(self):
        predictor = AffinitiesPredictor([Coordinate(1, 0, 0)], num_voxels=3)
        assert predictor.sigma(Coordinate(40, 16, 7)) == Coordinate(120, 120, 120)
        assert predictor.lsd_pad(Coordinate(40, 16, 7)) == Coordinate(360, 368, 364)

    def test_extractor_is_set_up(self):
        extractor = AffinitiesPredictor([Coordinate(1, 0)], num_voxels=3, downsample_lsds=2).extractor(Coordinate(4, 4))
        assert tuple(extractor.sigma) == (12, 12)
        assert extractor.downsample == 2

    def test_bool_background_as_object(self):
        labels = np.array([[False, False, True, True]] * 2)
        predictor = AffinitiesPredictor([Coordinate(0, 1)], lsds=False, background_as_object=True)
        assert predictor.create_target(array(labels, Coordinate(1, 1))).data[0].tolist() == [[1, 0, 1, 0]] * 2

    @pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int32, np.int64, np.uint64])
    def test_the_largest_label_is_no_background_even_where_background_is_an_object(self, dtype):
        largest = np.iinfo(dtype).max
        labels = np.array([[0, 0, largest, largest, 1, 1]] * 2, dtype=dtype)
        for lsds in (False, True):
            predictor = AffinitiesPredictor([Coordinate(0, 1)], lsds, num_voxels=1, background_as_object=True)
            target = predictor.create_target(array(labels, Coordinate(1, 1))).data
            assert target[0].tolist() == [[1, 0, 1, 0, 1, 0]] * 2
            assert not lsds or (target[-1] > 0).all()  # the size of each object

    def test_names(self):
        predictor = AffinitiesPredictor([Coordinate(1, 0, 0), Coordinate(0, -3, 0)], lsds=False)
        assert predictor.channel_names == ["aff(1,0,0)", "aff(0,-3,0)"]

    def test_refusals(self):
        with pytest.raises(ConfigError):
            AffinitiesPredictor([])
        with pytest.raises(ConfigError):
            AffinitiesPredictor([Coordinate(1, 0), Coordinate(1, 0, 0)])
        predictor = AffinitiesPredictor([Coordinate(1, 0)], lsds=False)
        with pytest.raises(ConfigError, match="3D"):
            predictor.create_model(Body(3))
        with pytest.raises(DtypeError, match="float32"):
            predictor.create_target(array(np.zeros((4, 4), dtype=np.float32), Coordinate(1, 1)))
        with pytest.raises(ChannelMismatchError):
            predictor.create_target(array(np.zeros((2, 4, 4), dtype=np.uint8), Coordinate(1, 1)))


class TestRecordedDistances:
    @pytest.mark.parametrize("name", [name for name in DISTANCES if name != "bool_gt_2d"])
    def test_targets(self, name):
        item, arrays = DISTANCES[name], item_arrays("distance_predictors", name)
        for call in range(sum(key.startswith("target") for key in arrays)):
            target = distance_predictor(item).create_target(recorded_array(item, arrays[f"gt{call}"]))
            assert target.dtype == arrays[f"target{call}"].dtype
            assert target.axes[0] == "c"
            np.testing.assert_allclose(target.data, arrays[f"target{call}"], atol=1e-5)

    @pytest.mark.parametrize("name", [name for name in DISTANCES if "_2d" in name or "_3d" in name])
    def test_weights(self, name):
        item, arrays = DISTANCES[name], item_arrays("distance_predictors", name)
        predictor, counts = distance_predictor(item), None
        for call in calls(arrays):
            gt, target, mask = (recorded_array(item, arrays[f"{kind}{call}"]) for kind in ("gt", "target", "mask"))
            weight, counts = predictor.create_weight(gt, target, mask, counts)
            assert weight.axes == item["weight_axes"]
            assert weight.roi == roi_of(item["weight_roi"])
            assert type(counts).__name__ == item["counts_type"]
            np.testing.assert_allclose(weight.data, arrays[f"weight{call}"], rtol=1e-5)
            if counts is not None:
                np.testing.assert_allclose(np.array(counts), arrays[f"counts{call}"], rtol=1e-9)

    @pytest.mark.parametrize(
        "name", [n for n in DISTANCES if "distance_mask0" in item_arrays("distance_predictors", n)]
    )
    def test_distance_masks(self, name):
        item, arrays = DISTANCES[name], item_arrays("distance_predictors", name)
        predictor = distance_predictor(item)
        for call in range(2):
            distances = arrays[f"target{call}"][-len(predictor.channels) :]
            result = predictor.create_distance_mask(
                distances, arrays[f"mask{call}"], Coordinate(item["voxel_size"]), "tanh", predictor.scale_factor
            )
            assert result.dtype == arrays[f"distance_mask{call}"].dtype
            np.testing.assert_array_equal(result, arrays[f"distance_mask{call}"])

    @pytest.mark.parametrize("name", [name for name, item in DISTANCES.items() if "padding" in item])
    def test_padding_and_region(self, name):
        item = DISTANCES[name]
        predictor, padding = distance_predictor(item), Coordinate(item["padding"])
        if item["parameters"].get("scale_factor") == 10.5:
            padding = Coordinate(12, 12)  # recorded is 10, which cuts the fraction and is no whole number of voxels
        assert predictor.padding(Coordinate(item["voxel_size"])) == padding
        region = predictor.gt_region_for_roi(target_spec(item))
        if "gt_region_raises" in item:  # recorded is an error; an inner distance asks for nothing more
            expected = roi_of(item["target_roi"])
        elif item["parameters"].get("scale_factor") == 10.5 and predictor.mask_distances:
            expected = roi_of(item["target_roi"]).grow(padding, padding)
        else:
            expected = roi_of(item["gt_roi"])
        assert region.roi == expected
        assert region.voxel_size == Coordinate(item["target_voxel_size"])
        assert region.dtype is None

    @pytest.mark.parametrize("name", [name for name, item in DISTANCES.items() if "output_array_type" in item])
    def test_description(self, name):
        item = DISTANCES[name]
        predictor, recorded = distance_predictor(item), item["output_array_type"]
        array_type = predictor.output_array_type
        assert predictor.embedding_dims == item["embedding_dims"]
        assert type(array_type).__name__ == recorded["type"]
        assert array_type.interpolatable
        # Recorded are some classes as a mere number, although the field holds names.
        wanted = recorded["classes"] if isinstance(recorded["classes"], int) else len(recorded["classes"])
        assert len(array_type.classes) == wanted

    @pytest.mark.parametrize("name", ["hot_distance_unmasked_2d", "hot_distance_unmasked_one_2d"])
    def test_unmasked_hot_distance_weights(self, name):
        # Recorded is an error; without masked distances, both halves weigh the classes where annotated.
        item, arrays = DISTANCES[name], item_arrays("distance_predictors", name)
        predictor = distance_predictor(item)
        gt, target, mask = (recorded_array(item, arrays[f"{kind}0"]) for kind in ("gt", "target", "mask"))
        expected, counts = None, None
        expected_counts = None
        for _ in range(2):
            weight, counts = predictor.create_weight(gt, target, mask, counts)
            expected, expected_counts = balance_weights(
                arrays["gt0"], 2, slab=(1, -1, -1), masks=[arrays["mask0"]], moving_counts=expected_counts
            )
            np.testing.assert_allclose(weight.data, np.concatenate([expected, expected]), rtol=1e-6)
            np.testing.assert_allclose(counts, np.concatenate([expected_counts] * 2))

    def test_bool_labels(self):
        # Recorded is an error of numpy; bool labels mean the same as zeros and ones.
        item, arrays = DISTANCES["bool_gt_2d"], item_arrays("distance_predictors", "bool_gt_2d")
        predictor = distance_predictor(item)
        as_bool = predictor.create_target(recorded_array(item, arrays["gt0"]))
        as_int = predictor.create_target(recorded_array(item, arrays["gt0"].astype(np.uint8)))
        np.testing.assert_array_equal(as_bool.data, as_int.data)


CLASS_PREDICTORS = [
    DistancePredictor(["a", "b"], 5, mask_distances=True),
    HotDistancePredictor(["a", "b"], 5, mask_distances=True),
    InnerDistancePredictor(["a", "b"], 5),
]


@pytest.mark.parametrize("predictor", CLASS_PREDICTORS, ids=lambda p: type(p).__name__)
class TestClassPredictors:
    def test_ground_truth_must_fit(self, predictor):
        with pytest.raises(ChannelMismatchError, match="1 channel,"):
            predictor.create_target(array(np.zeros((4, 4), dtype=np.uint8), Coordinate(1, 1)))
        with pytest.raises(DtypeError, match="float64"):
            predictor.create_target(array(np.zeros((2, 4, 4)), Coordinate(1, 1)))

    def test_world_units(self, predictor):
        labels = np.zeros((1, 3, 4), dtype=np.uint8)
        labels[:, :, 2:] = 1
        distances = predictor.process(labels, Coordinate(2, 10))[-1]
        inside = [5, 15]
        outside = [0, 0] if isinstance(predictor, InnerDistancePredictor) else [-15, -5]
        assert distances.tolist() == [outside + inside] * 3

    def test_one_mask_counts_for_all_channels(self, predictor):
        rng = np.random.default_rng(0)
        voxel_size = Coordinate(2, 2)
        gt = array(rng.integers(0, 2, (2, 9, 8)).astype(np.uint8), voxel_size)
        mask = rng.integers(0, 2, (9, 8)).astype(np.uint8)
        target = predictor.create_target(gt)
        weights = [
            predictor.create_weight(gt, target, array(m, voxel_size))[0].data
            for m in (mask, mask[np.newaxis], np.stack([mask, mask]))
        ]
        np.testing.assert_array_equal(weights[0], weights[1])
        np.testing.assert_array_equal(weights[0], weights[2])
        with pytest.raises(ChannelMismatchError, match="3 channels"):
            predictor.create_weight(gt, target, array(np.stack([mask] * 3), voxel_size))

    def test_channel_axis_may_stand_last(self, predictor):
        labels = np.random.default_rng(0).integers(0, 2, (2, 6, 7)).astype(np.uint8)
        roi, voxel_size = Roi((0, 0), (12, 14)), Coordinate(2, 2)
        last = NumpyArray.from_np_array(np.moveaxis(labels, 0, -1), roi, voxel_size, ["y", "x", "c"])
        np.testing.assert_array_equal(
            predictor.create_target(last).data, predictor.create_target(array(labels, voxel_size)).data
        )

    def test_nothing_to_predict_is_refused(self, predictor):
        arguments = {"scale_factor": 5}
        if not isinstance(predictor, InnerDistancePredictor):
            arguments["mask_distances"] = True
        with pytest.raises(ConfigError, match="channel"):
            type(predictor)([], **arguments)
        with pytest.raises(ConfigError, match="scale_factor"):
            type(predictor)(["a"], **{**arguments, "scale_factor": 0})


def test_masked_distances_hold_whatever_is_not_annotated():
    # Whatever the labels outside of the mask are, a distance that counts must not change much.
    rng = np.random.default_rng(3)
    voxel_size, scale = Coordinate(1, 1), 4
    predictor = DistancePredictor(["a"], scale, mask_distances=True)
    labels = np.kron(rng.integers(0, 2, (6, 6)), np.ones((6, 6), dtype=int)).astype(np.uint8)
    mask = np.zeros_like(labels)
    mask[6:30, 6:30] = 1
    targets, weights = [], []
    for filling in (0, 1):
        gt = array(np.where(mask, labels, filling).astype(np.uint8), voxel_size)
        target = predictor.create_target(gt)
        weights.append(predictor.create_weight(gt, target, array(mask, voxel_size))[0].data > 0)
        targets.append(target.data)
    both = weights[0] & weights[1]
    assert both.sum() > 100
    assert np.abs(targets[0] - targets[1])[both].max() < 0.2


class TestOneHot:
    @pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.uint64])
    def test_labels_of_any_integer_type(self, dtype):
        labels = np.array([[[0, 1], [1, 0]]]).astype(dtype)
        classes = 300  # more than 8 bits can tell apart
        target = OneHotPredictor([str(index) for index in range(classes)]).process(labels)
        assert target.dtype == np.uint8
        assert target.shape == (classes, 2, 2)
        assert np.array_equal(target[0], labels[0] == 0)
        assert np.array_equal(target[1], labels[0] == 1)
        assert not target[2:].any()

    def test_head_is_a_softmax_in_eval_mode(self):
        model = OneHotPredictor(["background", "a", "b"]).create_model(Body(2)).eval()
        with torch.no_grad():
            torch.testing.assert_close(model(torch.randn(1, 1, 8, 8)).sum(dim=1), torch.ones(1, 8, 8))

    def test_unknown_label_belongs_to_no_class(self):
        target = OneHotPredictor(["a", "b"]).create_target(
            array(np.array([[0, 1, 2]], dtype=np.uint8), Coordinate(1, 1))
        )
        assert target.data.tolist() == [[[1, 0, 0]], [[0, 1, 0]]]

    def test_refusals(self):
        with pytest.raises(ConfigError):
            OneHotPredictor([])
        with pytest.raises(DtypeError):
            OneHotPredictor(["a", "b"]).create_target(array(np.zeros((4, 4)), Coordinate(1, 1)))

    def test_a_mask_that_cannot_be_applied_is_refused(self):
        predictor, voxel_size = OneHotPredictor(["a", "b", "c"]), Coordinate(1, 1)
        gt = array(np.zeros((4, 4), dtype=np.uint8), voxel_size)
        for channels in ((), (1,), (3,)):
            mask = array(np.ones((*channels, 4, 4), dtype=np.uint8), voxel_size)
            assert predictor.create_weight(gt, predictor.create_target(gt), mask)[0].num_channels == 3
        with pytest.raises(ChannelMismatchError, match="2 channels"):
            predictor.create_weight(
                gt, predictor.create_target(gt), array(np.ones((2, 4, 4), dtype=np.uint8), voxel_size)
            )


def test_hot_distance_output_has_its_middle_at_the_boundary():
    model = HotDistancePredictor(["a"], 5, False).create_model(Body(2)).eval()
    activated = model.eval_activation(torch.tensor([[[[0.0, 100]], [[0.0, 0.5]]]]))
    torch.testing.assert_close(activated, torch.tensor([[[[0.5, 1]], [[0.5, 0.75]]]]))


def test_distance_output_is_what_was_trained_for():
    # The loss compares the plain output with tanh of distances, so nothing but a clip may follow.
    model = DistancePredictor(["a"], 5, False).create_model(Body(2)).eval()
    values = torch.tensor([-3.0, -0.7, 0.0, 0.9, 5.0])
    torch.testing.assert_close(model.eval_activation(values), torch.tensor([-1.0, -0.7, 0.0, 0.9, 1.0]))


def test_array_types():
    assert CLASS_PREDICTORS[0].output_array_type == DistanceArray({0: "a", 1: "b"})
    assert CLASS_PREDICTORS[1].output_array_type == ProbabilityArray(["a", "b", "a_distance", "b_distance"])
    assert DummyPredictor(4).output_array_type == EmbeddingArray(4)


def test_predictor_is_abstract():
    with pytest.raises(TypeError):
        Predictor()
    predictor = DummyPredictor(1)
    for call in (
        lambda: Predictor.create_model(predictor, None),
        lambda: Predictor.create_target(predictor, None),
        lambda: Predictor.create_weight(predictor, None, None, None),
        lambda: Predictor.output_array_type.fget(predictor),
    ):
        with pytest.raises(NotImplementedError):
            call()


def test_only_2d_and_3d_models():
    class Flat:
        dims, num_out_channels = 1, 2

    with pytest.raises(ConfigError, match="1 dimensions"):
        DummyPredictor(1).create_model(Flat())
