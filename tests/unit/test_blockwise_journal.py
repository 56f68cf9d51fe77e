"""The journal of blockwise work: names that stay, so that work begun by earlier versions is resumed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

import dacapo.blockwise
from dacapo.blockwise.journal.identity import array_identity, class_name, code_identity
from dacapo.blockwise.operation import class_path
from dacapo.blockwise.segmentation import SegmentationPlan
from dacapo.blockwise.voxelwise import Threshold
from dacapo.inference.prediction import Prediction
from dacapo.store.array_store import LocalArrayIdentifier
from tests.helpers.formats import precomputed
from tests.helpers.volumes import write_array

RECORDED_CODE = {
    "watershed_function": "91c35754",
    "empanada_function": "2cf338d8",
    "threshold_worker": "fd6eab1d",
    "argmax_worker": "8a5b1044",
    "predict_worker": "b14a58d9",
    "segment_worker": "d428246b",
    "relabel_worker": "5702695e",
}


@pytest.mark.parametrize(("module", "digest"), RECORDED_CODE.items())
def test_the_code_of_the_package_is_known_as_before(module: str, digest: str) -> None:
    file = Path(str(dacapo.blockwise.__file__)).parent / f"{module}.py"
    by_name, by_file = code_identity(f"dacapo.blockwise.{module}"), code_identity(file)
    assert by_name is not None
    assert by_name == by_file
    assert by_name.startswith(digest)


def test_code_of_others_is_known_by_its_text(tmp_path: Path) -> None:
    for text in ("a = 1", "a = 2"):
        (tmp_path / "threshold_worker.py").write_text(text)
        found = code_identity(tmp_path / "threshold_worker.py")
        assert found not in (None, code_identity("dacapo.blockwise.threshold_worker"))


def test_parameters_have_the_names_of_earlier_versions(tmp_path: Path) -> None:
    array = LocalArrayIdentifier(tmp_path / "volume.zarr", "raw")
    one = Coordinate(1, 1, 1)
    write_array(array.container, array.dataset, np.zeros((4, 4, 4), np.uint8), one, one * 0)
    region = Roi((0, 0, 0), (4, 4, 4))
    plan = SegmentationPlan.of(
        array,
        array,
        "dacapo.blockwise.watershed_function",
        region,
        region,
        region,
        1,
        kwargs={"offsets": [], "bias": 0},
    )
    parameters = plan.parameters()
    assert parameters["class"] == "dacapo.blockwise.segmentation:Segmentation"
    names = "class output region block_shape before after input function_file args kwargs voxel_size depth min_overlap"
    assert parameters.keys() == {*names.split(), "absorb_below", "growth", "inputs", "code"}
    assert parameters["region"] == [[0, 0, 0], [4, 4, 4]]
    assert plan.blocks() == {"block_shape": [4, 4, 4]}
    threshold = Threshold(input=array, output=array, region=region, block_shape=one, threshold=1)
    assert threshold.parameters()["class"] == "dacapo.blockwise.voxelwise:Threshold"


def test_a_prediction_has_the_name_of_earlier_versions() -> None:
    assert class_name(class_path(Prediction)) == "dacapo.blockwise.prediction:Prediction"


def test_a_changed_precomputed_volume_is_another_one(tmp_path: Path) -> None:
    config = precomputed(tmp_path, "volume", np.ones((4, 4, 4), np.uint8))
    place = LocalArrayIdentifier(config.file_name, config.dataset)
    before = array_identity(place)
    assert before["made"] is not None
    assert array_identity(place) == before
    info = tmp_path / "volume" / "info"
    info.write_text(info.read_text() + " ")
    os.utime(info, (1, 1))
    assert array_identity(place) != before
