"""Agglomeration as a post-processor: whole and in blocks, together and alone, resumed, and chosen by a config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from funlib.geometry import Coordinate

from dacapo.apply import apply_run
from dacapo.blockwise.agglomeration.painting import PaintSegments
from dacapo.blockwise.agglomeration.passes import CountContacts, CutFragments, whole_tiles
from dacapo.blockwise.journal import Resume
from dacapo.compute_context import Execution
from dacapo.errors import BlockwiseError, ChannelMismatchError, ConfigError
from dacapo.experiments.tasks import AffinitiesTask, AffinitiesTaskConfig
from dacapo.experiments.tasks.post_processors import (
    AgglomerationPostProcessor,
    AgglomerationPostProcessorParameters,
    WatershedPostProcessor,
    agglomeration_post_processor,
)
from dacapo.options import DaCapoConfig
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.utils.agglomeration import agglomerate
from dacapo.utils.fragments import FragmentParameters
from dacapo.validate import validate_run
from tests.helpers.runs import stored_run
from tests.helpers.volumes import new_volume, stored_values, write_array

PARAMETERS = [
    AgglomerationPostProcessorParameters(id=0, merge_threshold=0.55),
    AgglomerationPostProcessorParameters(id=1, merge_threshold=0.7),
    AgglomerationPostProcessorParameters(id=2, merge_threshold=0.55, quantile=0.5),
    AgglomerationPostProcessorParameters(id=3, merge_threshold=0.7, min_size=30),
]
KEPT = Execution(num_workers=1, resume=Resume.ALWAYS)


def noise(shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """Return noisy affinities in both directions, with a long one in between."""
    from scipy.ndimage import gaussian_filter

    dims = len(shape)
    near = [tuple((1 if axis else -1) * (axis == a) for a in range(dims)) for axis in range(dims)]
    rng = np.random.default_rng(seed)
    channels = [gaussian_filter(rng.standard_normal(shape), 1.5) for _ in range(dims + 1)]
    scaled = [np.clip(128 + 90 * channel / channel.std(), 0, 255) for channel in channels]
    return np.stack(scaled).astype(np.uint8), [near[0], (4,) * dims, *near[1:]]


def post_processor(
    folder: Path, shape: tuple[int, ...], dtype: str = "uint8", **fragments: Any
) -> tuple[AgglomerationPostProcessor, np.ndarray]:
    affinities, offsets = noise(shape)
    values = affinities if dtype == "uint8" else (affinities / 255).astype(dtype)
    dims = len(shape)
    source = write_array(folder / "in.zarr", "prediction", values, Coordinate((4,) * dims), Coordinate((40,) * dims))
    chosen = FragmentParameters(tile=8, seed_distance=2, **fragments)
    made = AgglomerationPostProcessor(offsets, PARAMETERS, chosen)
    made.set_prediction(source)
    return made, affinities


def outputs(folder: Path, name: str) -> list[LocalArrayIdentifier]:
    return [LocalArrayIdentifier(folder / "out.zarr", f"{name}_{one.id}") for one in PARAMETERS]


@pytest.mark.parametrize(
    ("shape", "dtype", "per_section"),
    [((22, 19, 25), "uint8", False), ((22, 19, 25), "float32", True), ((31, 28), "uint8", False)],
)
def test_blocks_of_any_size_give_exactly_the_whole(
    options: DaCapoConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, ...],
    dtype: str,
    per_section: bool,
) -> None:
    made, affinities = post_processor(tmp_path, shape, dtype, per_section=per_section)
    list(made.process_all(PARAMETERS, outputs(tmp_path, "whole"), num_workers=1))
    whole = [stored_values(one) for one in outputs(tmp_path, "whole")]
    assert len({labels.max() for labels in whole}) == len(PARAMETERS)
    for parameters, labels in zip(PARAMETERS, whole, strict=True):
        cut = parameters.cut
        expected = agglomerate(
            affinities, made.offsets, cut.threshold, cut.quantile, cut.min_size, made.fragments, (0.0, 1.0)
        )
        np.testing.assert_array_equal(labels, expected)
    made.whole_voxels = 0
    for block in (8, 16, 24):
        monkeypatch.setattr(agglomeration_post_processor, "DEFAULT_BLOCK_SIZE", Coordinate((block,) * len(shape)))
        list(made.process_all(PARAMETERS, outputs(tmp_path, f"blocks_{block}"), num_workers=1))
        for place, labels in zip(outputs(tmp_path, f"blocks_{block}"), whole, strict=True):
            np.testing.assert_array_equal(stored_values(place), labels)
    assert not list(tmp_path.rglob(".fragments_*"))
    assert not list(tmp_path.rglob(".segments_*"))


def test_another_threshold_needs_no_voxels_of_the_prediction(
    options: DaCapoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = post_processor(tmp_path, (30, 20, 20))
    whole, blocks = outputs(tmp_path, "whole"), outputs(tmp_path, "blocks")
    list(made.process_all(PARAMETERS, whole, num_workers=1))
    made.whole_voxels = 0
    size = Coordinate(16, 16, 16)
    made.process(PARAMETERS[0], blocks[0], block_size=size, execution=KEPT)
    monkeypatch.setattr("dacapo.blockwise.agglomeration.passes.read_affinities", None)
    for parameters, place in zip(PARAMETERS[1:], blocks[1:], strict=True):
        # The blocks of the graph are those of the first call.
        made.process(parameters, place, block_size=Coordinate(8, 8, 8), execution=KEPT)
    for one, other in zip(whole, blocks, strict=True):
        np.testing.assert_array_equal(stored_values(one), stored_values(other))
    # Other fragments are made anew.
    made.fragments = FragmentParameters(tile=8, seed_distance=1)
    with pytest.raises(BlockwiseError):
        made.process(PARAMETERS[0], LocalArrayIdentifier(tmp_path / "out.zarr", "other"), execution=KEPT)


@pytest.mark.parametrize("stage", [CutFragments, CountContacts, PaintSegments])
def test_interrupted_work_goes_on(
    options: DaCapoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: type
) -> None:
    made, _ = post_processor(tmp_path, (30, 20, 20))
    whole, place = outputs(tmp_path, "whole")[0], outputs(tmp_path, "blocks")[0]
    made.process(PARAMETERS[0], whole)
    made.whole_voxels = 0
    process, done = stage.process, []

    def fails(operation: Any, block: Any) -> None:
        if len(done) == 3:
            raise BlockwiseError("the disk is away")
        process(operation, block)
        done.append(tuple(block.write_roi.offset))

    def again(operation: Any, block: Any) -> None:
        done.append(tuple(block.write_roi.offset))
        process(operation, block)

    size = Coordinate(16, 16, 16)
    monkeypatch.setattr(stage, "process", fails)
    with pytest.raises(BlockwiseError, match="the disk is away"):
        made.process(PARAMETERS[0], place, block_size=size, execution=KEPT)
    monkeypatch.setattr(stage, "process", again)
    made.process(PARAMETERS[0], place, block_size=size, execution=KEPT)
    assert len(done) == len(set(done)) == 8
    np.testing.assert_array_equal(stored_values(place), stored_values(whole))


def test_worker_processes_give_the_same(options: DaCapoConfig, tmp_path: Path) -> None:
    made, _ = post_processor(tmp_path, (30, 20))
    whole, place = outputs(tmp_path, "whole")[3], outputs(tmp_path, "blocks")[3]
    made.process(PARAMETERS[3], whole)
    made.whole_voxels = 0
    made.process(PARAMETERS[3], place, num_workers=2, block_size=Coordinate(16, 16))
    np.testing.assert_array_equal(stored_values(place), stored_values(whole))


def test_a_prediction_without_foreground(options: DaCapoConfig, tmp_path: Path) -> None:
    source = write_array(tmp_path / "in.zarr", "p", np.zeros((2, 20, 20), np.uint8), Coordinate(1, 1), Coordinate(0, 0))
    made = AgglomerationPostProcessor([(1, 0), (0, 1)], fragments=FragmentParameters(tile=8))
    made.set_prediction(source)
    made.whole_voxels = 0
    place = LocalArrayIdentifier(tmp_path / "out.zarr", "labels")
    made.process(next(iter(made.enumerate_parameters())), place, 1, block_size=Coordinate(8, 8))
    assert not stored_values(place).any()
    with pytest.raises(ChannelMismatchError, match="3 offsets"):
        AgglomerationPostProcessor([(1, 0), (0, 1), (3, 0)]).set_prediction(source)
    far = AgglomerationPostProcessor([(2, 0), (0, 2)])
    far.set_prediction(source)
    far.whole_voxels = 0
    with pytest.raises(ConfigError, match="direct neighbor"):
        far.process(PARAMETERS[0], place)


def test_blocks_hold_whole_tiles() -> None:
    assert whole_tiles(Coordinate(256, 256, 256), Coordinate(600, 600, 600), 64) == (256, 256, 256)
    assert whole_tiles(Coordinate(100, 40, 100), Coordinate(600, 600, 80), 64) == (64, 64, 64)
    assert whole_tiles(Coordinate(100, 40), Coordinate(50, 40), 64) == (50, 40)


NEIGHBORHOOD = [Coordinate(1, 0), Coordinate(0, 1), Coordinate(3, 0), Coordinate(0, 3)]


def test_a_config_selects_agglomeration(options: DaCapoConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = AffinitiesTaskConfig(
        name="agglomeration",
        neighborhood=NEIGHBORHOOD,
        post_processor="agglomeration",
        merge_thresholds=[0.4, 0.45, 0.5],
        merge_quantile=0.75,
        min_size=5,
    )
    run, source = stored_run(tmp_path, config), new_volume(tmp_path)
    assert [str(one) for one in run.task.parameters][1] == (
        "AgglomerationPostProcessorParameters(id=1, merge_threshold=0.45, quantile=0.75, min_size=5)"
    )
    scores = validate_run(run, 1, num_workers=1)
    assert np.isfinite(np.array(scores.scores)).all()
    monkeypatch.setattr(AgglomerationPostProcessor, "whole_voxels", 0)
    in_blocks = validate_run(run, 1, num_workers=1)
    np.testing.assert_array_equal(scores.scores, in_blocks.scores)

    def apply(name: str, threshold: float) -> np.ndarray:
        arrays = [LocalArrayIdentifier(tmp_path / "out.zarr", dataset) for dataset in ("prediction", name)]
        parameters = AgglomerationPostProcessorParameters(id=0, merge_threshold=threshold)
        apply_run(run, 1, parameters, source, *arrays, num_workers=1, overwrite=False)
        return stored_values(arrays[1])

    blocks = apply("blocks", 0.45)
    monkeypatch.setattr(AgglomerationPostProcessor, "whole_voxels", 2**25)
    np.testing.assert_array_equal(apply("whole", 0.45), blocks)


def test_mistakes_in_a_config_are_named() -> None:
    assert isinstance(AffinitiesTask(AffinitiesTaskConfig("a", NEIGHBORHOOD)).post_processor, WatershedPostProcessor)
    for fields, message in [
        ({"post_processor": "multicut"}, "'mutex_watershed' or 'agglomeration'"),
        ({"merge_thresholds": []}, "merge_thresholds are"),
        ({"merge_thresholds": [1.0]}, "below 1"),
        ({"merge_quantile": 0.0}, "merge_quantile is 0.0"),
        ({"post_processor": "agglomeration", "fragments_per_section": True}, "offsets of three numbers"),
    ]:
        works, why = AffinitiesTaskConfig("a", NEIGHBORHOOD, **fields).verify()
        assert not works
        assert message in why
