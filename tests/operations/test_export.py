"""Exported models give the same predictions in other runtimes, and can be a start."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import bioimageio.core
import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from click.testing import CliRunner
from funlib.geometry import Coordinate

import dacapo
from dacapo import LoadedModel, export_model
from dacapo.cli import cli
from dacapo.errors import (
    ConfigError,
    DamagedFileError,
    OutputExistsError,
    PathNotFoundError,
    UnsafeFileError,
)
from dacapo.experiments import Run
from dacapo.experiments.starts import BioimageStartConfig
from dacapo.experiments.tasks import OneHotTaskConfig
from dacapo.experiments.trainers import TorchTrainerConfig
from dacapo.experiments.trainers.gp_augments import IntensityScaleShiftAugmentConfig
from dacapo.options import Options
from dacapo.store.create_store import create_config_store
from tests.helpers.runs import affinities_run_config, unet_config
from tests.helpers.volumes import cells

SHIFT = IntensityScaleShiftAugmentConfig(scale=2.0, shift=-1.0)
TRAINER = TorchTrainerConfig("trainer", batch_size=1, learning_rate=1e-3, num_data_fetchers=1, augments=[SHIFT])
NETWORKS: dict[str, tuple[int, dict[str, Any]]] = {
    "valid 3D": (3, {}),
    "padded 2D": (2, {"padding": "same", "use_attention": False}),
    "learned upsampling 2D": (2, {"constant_upsample": False}),
    "twice the resolution 2D": (2, {"upsample_factors": [Coordinate(2, 2)]}),
    "anisotropic 3D": (3, {"downsample_factors": [Coordinate(1, 2, 2)], "input_shape": Coordinate(17, 28, 28)}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the stores of a validated run in two dimensions."""
    folder = tmp_path_factory.mktemp("exported")
    with Options.override(runs_base_dir=folder / "runs"):
        config = affinities_run_config(
            folder, "flat", dims=2, num_iterations=2, architecture_config=unet_config(2), trainer_config=TRAINER
        )
        create_config_store().store_run_config(config)
        dacapo.train("flat")
        yield folder


@pytest.fixture(scope="module")
def package(folder: Path) -> Path:
    return export_model("flat", folder / "flat.zip", authors=["A. Author"], license="CC-BY-4.0")


def untrained(folder: Path, dims: int, **network: Any) -> LoadedModel:
    config = affinities_run_config(
        folder / str(dims), dims=dims, architecture_config=unet_config(dims, **network), trainer_config=TRAINER
    )
    return dacapo.load_model(Run(config))


@pytest.fixture(scope="module", autouse=True)
def _folders(folder: Path) -> None:
    for dims in (2, 3):
        (folder / str(dims)).mkdir()


def run_onnx(content: Any, raw: np.ndarray, about: dict[str, Any]) -> np.ndarray:
    """Predict raw data by nothing but the file and its description."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    change = about["normalization"]
    values = (raw * change["gain"] + change["offset"]).astype(np.float32)[None, None]
    (predicted,) = session.run(None, {"raw": values})
    return np.asarray(predicted[0])


def described(path: Path) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return dict(json.loads(session.get_modelmeta().custom_metadata_map["dacapo"]))


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_gives_our_prediction(folder: Path, tmp_path: Path, name: str) -> None:
    dims, network = NETWORKS[name]
    model = untrained(folder, dims, **network)
    path = export_model(model, tmp_path / "model.onnx")
    about = described(path)
    sizes = about["input_size"]
    for steps in (0, 2):
        shape = [least + steps * step for least, step in zip(sizes["min"], sizes["step"], strict=True)]
        raw = cells(tuple(max(size, 28) for size in shape), seed=steps)[0]
        raw = raw[tuple(slice(size) for size in shape)]
        predicted = run_onnx(path, raw, about)
        if all(size >= need for size, need in zip(shape, model.trained.model.input_shape, strict=True)):
            np.testing.assert_allclose(predicted, model.predict(raw), atol=1e-5)
        assert predicted.shape[0] == len(about["channels"])
    assert about["activation"] == "Sigmoid"
    assert min(about["block_size"]) >= 2 * max(about["halo"]) / max(about["output_voxels_per_input_voxel"])


def test_a_block_of_a_volume_is_right_inside_of_its_halo(folder: Path, tmp_path: Path) -> None:
    model = untrained(folder, 2)
    path = export_model(model, tmp_path / "model.onnx")
    about = described(path)
    volume = cells((80, 80), seed=3)[0]
    expected = model.predict(volume)
    (step, _), (halo, _), (size, _) = about["input_size"]["step"], about["halo"], about["block_size"]
    begin = -(-10 // step) * step  # blocks begin at multiples of the step
    block = run_onnx(path, volume[begin : begin + size, begin : begin + size], about)
    inner = slice(halo, size - halo)
    outer = slice(begin + halo, begin + size - halo)
    np.testing.assert_allclose(block[:, inner, inner], expected[:, outer, outer], atol=1e-5)
    assert not np.allclose(block, expected[:, begin : begin + size, begin : begin + size], atol=1e-5)


def test_a_package_passes_the_test_of_bioimageio(package: Path, folder: Path, tmp_path: Path) -> None:
    for kind in ("onnx", "pytorch_state_dict"):
        summary = bioimageio.core.test_model(package, weight_format=kind)  # type: ignore[arg-type]
        assert summary.status == "passed", summary.format()
    deep = export_model(untrained(folder, 3), tmp_path / "deep.zip", title="In three dimensions")
    summary = bioimageio.core.test_model(deep, weight_format="onnx")
    assert summary.status == "passed", summary.format()


def test_a_package_holds_all_that_is_needed(package: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        rdf = yaml.safe_load(archive.read("rdf.yaml"))
        raw, prediction = (np.load(io.BytesIO(archive.read(f"{name}.npy"))) for name in ("raw", "prediction"))
        content = archive.read("weights.onnx")
        state = torch.load(io.BytesIO(archive.read("weights.pt")), weights_only=True)
    about = rdf["config"]["dacapo"]
    assert (rdf["name"], rdf["license"], rdf["authors"]) == ("dacapo flat", "CC-BY-4.0", [{"name": "A. Author"}])
    assert [axis["type"] for axis in rdf["inputs"][0]["axes"]] == ["batch", "channel", "space", "space"]
    assert rdf["inputs"][0]["axes"][2]["scale"] == 4
    scale = rdf["inputs"][0]["preprocessing"][1]["kwargs"]
    assert scale == pytest.approx({"gain": 2 / 255, "offset": -1})
    assert about["normalization"] == scale
    assert [axis["halo"] for axis in rdf["outputs"][0]["axes"][2:]] == about["halo"]
    best = dacapo.load_model("flat")
    assert about["iteration"] == best.iteration
    assert about["post_processing"]["parameters"] == "WatershedPostProcessorParameters"
    assert about["post_processing"]["bias"] == best.parameters.bias  # type: ignore[union-attr]
    assert about["task"]["neighborhood"] == [[1, 0], [0, 1]]
    np.testing.assert_allclose(run_onnx(content, raw[0, 0], about), prediction[0], atol=1e-5)
    assert all(torch.equal(value, state[f"model.{name}"]) for name, value in best.trained.model.state_dict().items())


def test_the_command_exports(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    general = ["--runs-dir", str(folder / "runs")]
    done = CliRunner().invoke(cli, [*general, "export", "flat", "--format", "onnx", "-i", "2"])
    assert done.output == "flat.onnx\n"
    assert described(Path("flat.onnx"))["iteration"] == 2
    again = CliRunner().invoke(cli, [*general, "export", "flat", "-o", "flat.onnx"])
    assert again.exit_code == 1
    assert "--overwrite" in again.output
    done = CliRunner().invoke(
        cli, [*general, "export", "flat", "--title", "Cells in 2D", "--author", "A", "--author", "B"]
    )
    assert done.output == "flat.zip\n"
    Options.reset()


def test_what_cannot_be_exported_is_an_error(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "there.zip").touch()
    with pytest.raises(OutputExistsError):
        export_model("flat", tmp_path / "there.zip")
    with pytest.raises(ConfigError, match="unknown format 'keras'"):
        export_model("flat", format="keras")
    with pytest.raises(ConfigError, match=r"ends in '\.h5'; a file of the format 'onnx' ends in '\.onnx'"):
        export_model("flat", tmp_path / "model.h5", "onnx")
    with pytest.raises(ConfigError, match="title 'abc' cannot be"):
        export_model("flat", tmp_path / "short.zip", title="abc")
    assert not (tmp_path / "short.zip").exists()
    config = Run.open("flat").config
    (dataset,) = config.datasplit_config.train_configs  # type: ignore[attr-defined]
    other = attrs.evolve(dataset, raw_config=attrs.evolve(dataset.raw_config, max=100.0))
    split = attrs.evolve(config.datasplit_config, train_configs=[dataset, other])  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="in different ways"):
        export_model(Run(attrs.evolve(config, name="two", datasplit_config=split)), tmp_path / "two.zip")


def start_from(package: Path, criterion: str = "pytorch_state_dict", **changes: Any) -> Run:
    config = dacapo.load_model("flat").trained.config
    start = BioimageStartConfig(str(package), criterion)
    return Run(attrs.evolve(config, **{"name": "fine", "start_config": start, **changes}))


def test_a_package_is_a_start(package: Path, tmp_path: Path) -> None:
    expected = dacapo.load_model("flat").trained.model.state_dict()
    with zipfile.ZipFile(package) as archive:
        archive.extractall(tmp_path / "unpacked")
    for place in (package, tmp_path / "unpacked"):
        assert BioimageStartConfig(str(place), "pytorch_state_dict").verify()[0]
        state = start_from(place).model.state_dict()
        assert all(torch.equal(value, state[name]) for name, value in expected.items())
    # Another task gets the body only.
    classes = OneHotTaskConfig("classes", classes=["a", "b", "c"])
    other = start_from(package, task_config=classes).model
    body = {name: value for name, value in other.state_dict().items() if name.startswith("architecture.")}
    assert all(torch.equal(value, expected[name]) for name, value in body.items())


def changed(source: Path, target: Path, change: Callable[[dict[str, Any], Path], None]) -> Path:
    """Return a package whose description, or another file, was changed."""
    with zipfile.ZipFile(source) as archive:
        archive.extractall(target)
    rdf = yaml.safe_load((target / "rdf.yaml").read_text())
    change(rdf, target)
    (target / "rdf.yaml").write_text(yaml.safe_dump(rdf))
    return target


def with_code(rdf: dict[str, Any], folder: Path) -> None:
    """Put an object into the weights whose reading would run code."""
    torch.save({"weight": print}, folder / "weights.pt")
    del rdf["weights"]["pytorch_state_dict"]["sha256"]


def without_state(rdf: dict[str, Any], folder: Path) -> None:
    del rdf["weights"]["pytorch_state_dict"]


def elsewhere(source: str) -> Callable[[dict[str, Any], Path], None]:
    def change(rdf: dict[str, Any], folder: Path) -> None:
        rdf["weights"]["pytorch_state_dict"]["source"] = source

    return change


def cut(rdf: dict[str, Any], folder: Path) -> None:
    (folder / "weights.pt").write_bytes(b"cut")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (with_code, UnsafeFileError, "could execute code"),
        (without_state, ConfigError, r"has weights in onnx, of which none can be read"),
        (elsewhere("https://example.org/weights.pt"), ConfigError, "download the whole package first"),
        (elsewhere("../../secret.pt"), DamagedFileError, "no file '../../secret.pt' inside"),
        (elsewhere("/etc/passwd"), DamagedFileError, "no file '/etc/passwd' inside"),
        (cut, DamagedFileError, "sha256"),
    ],
)
def test_a_package_that_is_no_start_is_an_error(
    package: Path, tmp_path: Path, change: Callable[..., None], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        start_from(changed(package, tmp_path / "changed", change))


def test_other_weights_and_files_are_no_start(package: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsafeFileError, match="they are a program, which is not run"):
        start_from(package, "torchscript")
    with pytest.raises(ConfigError, match="whose tensors have the names of layers"):
        start_from(package, "onnx")
    with pytest.raises(PathNotFoundError, match="does not exist"):
        start_from(tmp_path / "missing.zip")
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(DamagedFileError, match=r"is no bioimage\.io package"):
        start_from(tmp_path / "text.zip")
    shutil.copytree(tmp_path, tmp_path.with_name("other"), ignore=lambda *_: ["text.zip"])
    works, why = BioimageStartConfig(str(tmp_path.with_name("other")), "pytorch_state_dict").verify()
    assert not works
    assert "has no rdf.yaml" in why
