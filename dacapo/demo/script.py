"""A whole run in a few minutes: data, training, validation, segmentation of an unseen volume, and a picture.

:func:`demo` uses the package in the way of a user's script, so it also serves as an example.
"""

from __future__ import annotations

import logging
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs
import yaml
from funlib.geometry import Roi

from dacapo.apply import Applied, apply
from dacapo.errors import (
    ConfigError,
    DuplicateNameError,
    OutputExistsError,
)
from dacapo.experiments.datasplits.datasets.arrays.view import build
from dacapo.experiments.run import Run
from dacapo.experiments.run_config import RunConfig
from dacapo.options import Options
from dacapo.store.create_store import create_config_store, create_stats_store, create_weights_store
from dacapo.store.files import make_folder, read_text, remove_file, write_text
from dacapo.train import train
from dacapo.utils.drawing import require_matplotlib
from dacapo.utils.text_table import text_table
from dacapo.validate import validate

from .data import SHAPES, DemoData, own_data, synthetic_data, write_tissue
from .description import RUN_NAME, describe_run
from .picture import draw_picture

logger = logging.getLogger(__name__)

MARK = "# Made by 'dacapo demo'; commands started in this folder read it.\n"
ITERATIONS_PER_MINUTE = 250  # on two idle cores, including validation


@attrs.frozen
class Scores:
    """The quality of a segmentation of the unseen volume: variation of information in bits."""

    network: str
    iteration: int
    parameters: str
    voi_split: float
    voi_merge: float
    voi: float


@attrs.frozen
class Demo:
    """The results of the demo.

    Attributes:
        folder: Holds data, runs, results, the picture, and the settings by which every command finds them.
        picture: The picture.
        untrained: Scores of the network before training.
        trained: Scores of the checkpoint selected by validation.
        next_steps: Commands to try.
    """

    folder: Path
    picture: Path
    untrained: Scores
    trained: Scores
    next_steps: list[str]

    @property
    def table(self) -> str:
        """The scores as text."""
        rows = [
            [s.network, str(s.iteration), f"{s.voi_split:.2f}", f"{s.voi_merge:.2f}", f"{s.voi:.2f}"]
            for s in (self.untrained, self.trained)
        ]
        return text_table(["network", "iteration", "voi_split", "voi_merge", "voi"], rows)


def demo(
    output: Path | str = "demo",
    raw: Path | str | None = None,
    labels: Path | str | None = None,
    minutes: float = 2.0,
    overwrite: bool = False,
    shapes: Mapping[str, Sequence[int]] = SHAPES,
) -> Demo:
    """Train a small network to segment, apply it to a volume it has not seen, and draw the result.

    Without your own data, the demo generates synthetic tissue. It cuts your data along the longest axis into one part
    for training, one for validation, and one to segment. Called again on the folder of an interrupted demo, it resumes.

    Args:
        output: Folder for all files of the demo.
        raw: Your image, as ``container.zarr/dataset``.
        labels: Labels of the same region: integers, one per object, 0 for background.
        minutes: Approximate training time on two cores. It sets the number of iterations, so results are reproducible.
        overwrite: Whether to delete an earlier demo in the folder first.
        shapes: Shapes in voxels of the synthetic volumes ``train``, ``validate`` and ``unseen``.

    Raises:
        ConfigError: If only one of ``raw`` and ``labels`` is given, or the time is not positive.
        OutputExistsError: If the folder holds other files, or a demo with different settings.
        RoiError: If labels and image do not cover the same region.
        DtypeError: If labels are not integers.
        InputTooSmallError: If the image is too small.
        MissingDependencyError: If matplotlib is not installed.
        KeyboardInterrupt: If training was interrupted; the same call resumes it.
    """
    require_matplotlib()
    if not minutes > 0:
        raise ConfigError(f"minutes must be positive, got {minutes}")
    folder = Path(output).resolve()
    data = synthetic_data(folder, shapes) if raw is None and labels is None else own_data(raw, labels)
    _check_folder(folder, data)
    run_config = describe_run(data, iterations=max(2, round(minutes * ITERATIONS_PER_MINUTE)))
    if overwrite:
        _remove_earlier(folder)
    with _settings(folder):
        _store(run_config, folder)
        if raw is None:
            write_tissue(folder, shapes)
        _train(run_config)
        applied = {
            "untrained": _apply(data, folder, iteration=0),
            "trained": _apply(data, folder, iteration=None),
        }
        untrained, trained = (_score(run_config, data, network, done) for network, done in applied.items())
        picture = draw_picture(run_config, data, folder, applied["trained"])
    steps = _next_steps(Path(output), data, run_config, trained)
    return Demo(folder, picture, untrained, trained, steps)


# The folder


def _check_folder(folder: Path, data: DemoData) -> None:
    """Refuse a folder that holds anything but an earlier demo, or the data to work on."""
    if data.unseen_roi is not None and folder in data.unseen_raw.container.parents:
        raise ConfigError(f"{data.unseen_raw.container} is inside {folder}; choose another folder with --output")
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    settings = folder / "dacapo.yaml"
    if not (settings.is_file() and read_text(settings).startswith(MARK)):
        raise OutputExistsError(f"{folder} exists but holds no earlier demo; choose another folder with --output")


def _remove_earlier(folder: Path) -> None:
    """Delete the files of a demo and nothing else; the settings last, since they identify the folder."""
    for name in ("runs", "results.zarr", "more.zarr", *(f"{part}.zarr" for part in SHAPES)):
        if (folder / name).exists():
            shutil.rmtree(folder / name)
    for name in ("demo.png", "dacapo.yaml"):
        remove_file(folder / name, missing_ok=True)


@contextmanager
def _settings(folder: Path) -> Iterator[None]:
    """Keep runs in the folder, now and for every command started inside it later."""
    make_folder(folder)
    settings = {"type": "files", "runs_base_dir": str(folder / "runs")}
    write_text(folder / "dacapo.yaml", MARK + yaml.safe_dump(settings))
    with Options.override(**settings, compute_context={"type": "LocalTorch", "config": {}}):
        yield


# The run


def _store(run_config: RunConfig, folder: Path) -> None:
    try:
        create_config_store().store_run_config(run_config)
    except DuplicateNameError as error:
        raise OutputExistsError(
            f"{folder} holds a demo with different settings; choose another folder with --output, or replace it with "
            f"--overwrite ({error})"
        ) from error


def _train(run_config: RunConfig) -> None:
    """Score the untrained network, then train."""
    validated = [s.iteration for s in create_stats_store().retrieve_validation_iteration_scores(run_config.name)]
    if 0 not in validated:
        logger.info("scoring the untrained network")
        create_weights_store().store_weights(Run(run_config), 0)
        validate(run_config.name, 0)
    logger.info("training for %d iterations", run_config.num_iterations)
    started = time.monotonic()
    train(run_config.name)
    logger.info("trained and validated in %.0f seconds", time.monotonic() - started)


# The results


def _apply(data: DemoData, folder: Path, iteration: int | None) -> Applied:
    """Segment the unseen volume with the parameters that scored best in validation."""
    raw = data.unseen_raw
    return apply(
        RUN_NAME,
        raw.container,
        raw.dataset,
        folder / "results.zarr",
        iteration=iteration,
        roi=data.unseen_roi,
        num_workers=1,
    )


def _score(run_config: RunConfig, data: DemoData, network: str, applied: Applied) -> Scores:
    evaluator = Run(run_config).task.evaluator
    scores = evaluator.evaluate(applied.output, build(data.unseen_truth))
    values = {name: float(getattr(scores, name)) for name in ("voi_split", "voi_merge", "voi")}
    return Scores(network, applied.selection.iteration, str(applied.selection.parameters), **values)


def _next_steps(output: Path, data: DemoData, run_config: RunConfig, trained: Scores) -> list[str]:
    command = "dacapo" if shutil.which("dacapo") else str(Path(sys.executable).with_name("dacapo"))
    raw = data.unseen_raw
    inside = raw.container.parent == output.resolve()
    source = [raw.container.name if inside else str(raw.container), raw.dataset, "more.zarr"]
    roi = [] if data.unseen_roi is None else ["--roi", _roi_argument(data.unseen_roi)]
    last = str(run_config.num_iterations)
    lines = [
        ["cd", str(output)],
        [command, "runs"],
        [command, "validate", RUN_NAME, last],
        [command, "predict", RUN_NAME, last, *source, *roi],
        [command, "apply", RUN_NAME, *source, "--parameters", trained.parameters, *roi],
        [command, "train", RUN_NAME],
    ]
    return [shlex.join(line) for line in lines]


def _roi_argument(roi: Roi) -> str:
    return "[" + ",".join(f"{begin}:{end}" for begin, end in zip(roi.begin, roi.end, strict=True)) + "]"
