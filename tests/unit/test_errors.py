"""Each mistake raises an error of this package that the original's callers catch too."""

from __future__ import annotations

import inspect
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from funlib.geometry import Coordinate, Roi

import dacapo
from dacapo import errors, ext
from dacapo.blockwise.outputs import check_output
from dacapo.blockwise.worker.user_modules import load_module
from dacapo.compute_context import LocalTorch
from dacapo.errors import DacapoError
from dacapo.experiments.block_plan import plan_blocks
from dacapo.experiments.config import config_class
from dacapo.experiments.datasplits.datasets.arrays import NumpyArray, ZarrArray, ZarrArrayConfig
from dacapo.experiments.datasplits.datasplit_generator import generate_dataspec_from_csv
from dacapo.experiments.loggers import Logger
from dacapo.experiments.run import Run
from dacapo.experiments.selection import matching_criteria, select
from dacapo.experiments.starts import StartConfig
from dacapo.experiments.tasks import DummyTaskConfig
from dacapo.experiments.tasks.losses import HotDistanceLoss
from dacapo.experiments.trainers.training_memory import train_within
from dacapo.experiments.training_iteration_stats import TrainingIterationStats
from dacapo.experiments.training_stats import TrainingStats
from dacapo.inference.prediction import BlockPredictor
from dacapo.options import DaCapoConfig
from dacapo.predict import predict
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import create_array_store, create_config_store, create_weights_store
from dacapo.store.training_lock import training_lock
from dacapo.sweep import sweep
from dacapo.train import train
from dacapo.utils.affinities import seg_to_affgraph
from dacapo.utils.balance_weights import balance_weights
from dacapo.utils.contingency import check_labels
from dacapo.utils.names import check_name
from tests.helpers.runs import affinities_run_config, dummy_run_config, stored_run
from tests.helpers.volumes import new_volume
from tests.helpers.zarr_files import chunk_files

CLASSES = {cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, DacapoError)}
MISTAKES: dict[str, tuple[type[DacapoError], set[type[Exception]], Callable[[Path], object]]] = {}


def mistake(error: type[DacapoError], *caught_before: type[Exception]) -> Callable[..., Callable[[Path], object]]:
    """Enter a mistake into the table, with its error and what the original's callers catch."""

    def enter(make: Callable[[Path], object]) -> Callable[[Path], object]:
        MISTAKES[make.__name__.replace("_", " ")] = error, set(caught_before), make
        return make

    return enter


@mistake(errors.ConfigNotFoundError, ValueError)
def a_run_that_is_not_stored(folder: Path) -> None:
    create_config_store().retrieve_run_config("nobody")


@mistake(errors.ConfigNotFoundError, ValueError)
def training_a_run_that_is_not_stored(folder: Path) -> None:
    train("nobody")


@mistake(errors.ConfigNotFoundError, FileNotFoundError)
def deleting_a_task_that_is_not_stored(folder: Path) -> None:
    create_config_store().delete_task_config("nobody")


@mistake(errors.CheckpointNotFoundError, FileNotFoundError)
def a_missing_checkpoint(folder: Path) -> None:
    create_weights_store().retrieve_weights("run", 7)


@mistake(errors.CheckpointNotFoundError, FileNotFoundError)
def predicting_with_a_missing_checkpoint(folder: Path) -> None:
    run, volume = stored_run(folder), new_volume(folder)
    predict(run.name, 7, volume.container, volume.dataset, folder / "out.zarr")


@mistake(errors.CheckpointNotFoundError, FileNotFoundError)
def removing_a_missing_checkpoint(folder: Path) -> None:
    create_weights_store().remove("run", 7)


@mistake(errors.CheckpointNotFoundError, FileNotFoundError)
def a_best_one_that_was_not_stored(folder: Path) -> None:
    create_weights_store().retrieve_best("run", "val", "voi")


@mistake(errors.CheckpointNotFoundError, FileNotFoundError)
def a_start_from_nothing(folder: Path) -> None:
    config = StartConfig(run="nobody", criterion="latest")
    config.start_type(config)._retrieve_weights()


@mistake(errors.ArrayNotFoundError, FileNotFoundError, KeyError, ValueError)
def a_missing_dataset(folder: Path) -> None:
    volume = new_volume(folder)
    ZarrArray.open_from_array_identifier(LocalArrayIdentifier(volume.container, "labels"))


@mistake(errors.ArrayNotFoundError, FileNotFoundError)
def a_missing_container(folder: Path) -> None:
    ZarrArray(ZarrArrayConfig(name="none", file_name=folder / "none.zarr", dataset="raw"))


@mistake(errors.PathNotFoundError, FileNotFoundError)
def a_worker_file_that_is_missing(folder: Path) -> None:
    load_module(folder / "worker.py")


@mistake(errors.PathNotFoundError, FileNotFoundError)
def a_table_of_datasets_that_is_missing(folder: Path) -> None:
    generate_dataspec_from_csv(folder / "datasets.csv")


@mistake(errors.NotFoundError, KeyError)
def a_criterion_without_scores(folder: Path) -> None:
    matching_criteria(["voi"], "dice")


@mistake(errors.NotFoundError, IndexError)
def a_validation_dataset_of_another_name(folder: Path) -> None:
    select(stored_run(folder), validation_dataset="nobody")


@mistake(errors.NotFoundError, ValueError)
def parameters_that_cannot_be_parsed(folder: Path) -> None:
    select(stored_run(folder), parameters="Watershed(", iteration=1)


@mistake(errors.DuplicateNameError)
def a_name_for_two_configs(folder: Path) -> None:
    for dims in (1, 2):
        create_config_store().store_task_config(
            DummyTaskConfig(name="task", embedding_dims=dims, detection_threshold=0.5)
        )


@mistake(errors.UnknownTypeError, ValueError)
def a_config_of_no_class(folder: Path) -> None:
    config_class("NobodyConfig")


@mistake(errors.ConfigError, ValueError, AssertionError)
def a_name_that_leads_elsewhere(folder: Path) -> None:
    check_name("../run", "run name")


@mistake(errors.DimensionsError, RuntimeError)
def affinities_in_four_dimensions(folder: Path) -> None:
    seg_to_affgraph(np.ones((2, 2, 2, 2), np.uint64), [(1, 0, 0, 0)])


@mistake(errors.RoiError, AssertionError, IndexError)
def a_region_outside(folder: Path) -> None:
    array = ZarrArray.open_from_array_identifier(new_volume(folder))
    array[array.roi.shift(array.roi.shape)]


@mistake(errors.ReadOnlyError, ValueError)
def writing_to_values_that_are_read_only(folder: Path) -> None:
    values = np.broadcast_to(np.zeros(1), (4,))
    array = NumpyArray.from_np_array(values, Roi((0,), (4,)), Coordinate((1,)), ["x"])
    array[array.roi] = 1


@mistake(errors.InputTooSmallError, RuntimeError)
def a_volume_smaller_than_the_input(folder: Path) -> None:
    small = NumpyArray.from_np_array(np.zeros((8, 8), np.uint8), Roi((0, 0), (32, 32)), Coordinate(4, 4), ["y", "x"])
    plan_blocks(stored_run(folder).model, small, None)


@mistake(errors.ChannelMismatchError, AssertionError)
def a_hot_distance_of_three_channels(folder: Path) -> None:
    odd = torch.zeros(1, 3, 2, 2)
    HotDistanceLoss().compute(odd, odd, odd)


@mistake(errors.ChannelMismatchError, RuntimeError)
def a_volume_with_a_channel_more(folder: Path) -> None:
    values, roi = np.zeros((2, 40, 40), np.uint8), Roi((0, 0), (160, 160))
    two = NumpyArray.from_np_array(values, roi, Coordinate(4, 4), ["c", "y", "x"])
    plan_blocks(stored_run(folder).model, two, None)


@mistake(errors.MetadataError, ValueError, AssertionError)
def a_region_of_another_size_than_the_values(folder: Path) -> None:
    NumpyArray.from_np_array(np.zeros((8, 8), np.uint8), Roi((0, 0), (8, 12)), Coordinate(1, 1), ["y", "x"])


@mistake(errors.DtypeError, TypeError, ValueError)
def affinities_of_fractions(folder: Path) -> None:
    seg_to_affgraph(np.ones((2, 2), np.float32), [(1, 0)])


@mistake(errors.LabelError, AssertionError)
def a_class_beyond_the_last(folder: Path) -> None:
    balance_weights(np.array([[0, 2]]), 2, slab=(-1, -1), masks=[])


@mistake(errors.OutputExistsError, FileExistsError, RuntimeError)
def an_output_that_is_not_ours(folder: Path) -> None:
    check_output(new_volume(folder), overwrite=False)


@mistake(errors.StorageError, OSError)
def a_folder_that_is_a_file(folder: Path) -> None:
    (folder / "runs").write_text("")
    store = create_weights_store(DaCapoConfig(runs_base_dir=folder / "runs"))
    store.store_weights(stored_run(folder / "data"), 1)


@mistake(errors.DamagedFileError, RuntimeError, ValueError, EOFError)
def a_checkpoint_that_is_cut_off(folder: Path) -> None:
    run = stored_run(folder)
    (file,) = create_array_store().snapshot_container(run.name).container.parent.glob("checkpoints/iterations/1")
    file.write_bytes(file.read_bytes()[:-100])
    create_weights_store().retrieve_weights(run, 1)


@mistake(errors.UnsafeFileError, pickle.UnpicklingError)
def a_checkpoint_that_holds_code(folder: Path) -> None:
    run = stored_run(folder)
    (file,) = create_array_store().snapshot_container(run.name).container.parent.glob("checkpoints/iterations/1")
    torch.save({"model": folder, "optimizer": {}}, file)
    create_weights_store().retrieve_weights(run, 1)


@mistake(errors.EvaluationError, ValueError)
def volumes_that_cannot_be_compared(folder: Path) -> None:
    check_labels(np.zeros((2, 2), int), np.zeros((3, 3), int))


@mistake(errors.RecordError, AssertionError)
def statistics_with_a_gap(folder: Path) -> None:
    stats = TrainingStats()
    for iteration in (0, 3):
        stats.add_iteration_stats(TrainingIterationStats(iteration=iteration, loss=0.5, time=0.1))


@mistake(errors.TrainingError, RuntimeError)
def a_trainer_without_batches(folder: Path) -> None:
    run = stored_run(folder)
    next(iter(run.trainer.iterate(1, run.model, run.optimizer, torch.device("cpu"))))


@mistake(errors.BatchError, RuntimeError)
def data_that_is_damaged(folder: Path) -> None:
    run = Run(affinities_run_config(folder))
    run.trainer.build_batch_provider(run.datasplit.train, run.model, run.task)
    for chunk in chunk_files(folder / "train.zarr" / "raw"):
        chunk.write_bytes(b"damaged")
    with run.trainer:
        next(iter(run.trainer.iterate(1, run.model, run.optimizer, torch.device("cpu"))))


@mistake(errors.NotFiniteError, ValueError)
def raw_data_with_nan(folder: Path) -> None:
    run = Run(affinities_run_config(folder))
    size = Coordinate(run.model.eval_input_shape)
    nan = np.full(size, np.nan, np.float32)
    raw = NumpyArray.from_np_array(nan, Roi((0, 0, 0), size), Coordinate(1, 1, 1), ["z", "y", "x"])
    plan = plan_blocks(run.model, raw)
    BlockPredictor(run, raw, plan, None, torch.device("cpu")).compute(Roi((0, 0, 0), plan.write_shape))


@mistake(errors.LoggerError, RuntimeError)
def a_logger_that_cannot_start(folder: Path) -> None:
    class Broken(Logger):
        def start(self, run: Run) -> None:
            raise OSError("no space")

    create_config_store().store_run_config(dummy_run_config())
    train("dummy", loggers=Broken())


@mistake(errors.RunInUseError, RuntimeError)
def a_run_that_is_trained_already(folder: Path) -> None:
    with training_lock("run"), training_lock("run"):
        pass


@mistake(errors.SweepError, RuntimeError)
def a_learning_rate_that_is_too_high(folder: Path) -> None:
    grid = {"trainer_config.learning_rate": [1e30]}
    sweep({"base": affinities_run_config(folder, dims=2, num_iterations=2), "grid": grid})


@mistake(errors.BlockwiseError, RuntimeError)
def a_command_that_fails(folder: Path) -> None:
    LocalTorch().execute([sys.executable, "-c", "raise SystemExit(3)"])


@mistake(errors.MemoryBudgetError, MemoryError, RuntimeError)
def a_training_in_a_kilobyte(folder: Path) -> None:
    run = Run(affinities_run_config(folder))
    train_within(run.trainer, run.model, "1KB")


@mistake(errors.MissingDependencyError, ImportError)
def a_package_that_is_not_installed(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pymongo", None)
        patch.setitem(sys.modules, "pymongo.errors", None)
        create_config_store(DaCapoConfig(type="mongo", mongo_db_host="localhost", mongo_db_name="dacapo"))


@mistake(errors.MissingModuleError, ImportError, RuntimeError)
def use_of_a_package_that_is_not_installed(folder: Path) -> None:
    ext.NoSuchModule("neuroglancer").Viewer()


@pytest.mark.parametrize("name", MISTAKES)
def test_old_handlers_catch_it(options: DaCapoConfig, tmp_path: Path, name: str) -> None:
    error, caught_before, make = MISTAKES[name]
    with pytest.raises(error) as caught:
        make(tmp_path)
    assert type(caught.value) is error
    for builtin in caught_before:
        assert isinstance(caught.value, builtin)
    assert str(caught.value) == caught.value.args[0]  # a KeyError alone would put it in quotes


def test_every_error_is_in_the_table() -> None:
    assert {error for error, _, _ in MISTAKES.values()} == CLASSES - {DacapoError}
    assert dacapo.store.config_store.DuplicateNameError is errors.DuplicateNameError


@pytest.mark.parametrize("cls", sorted(CLASSES, key=lambda cls: cls.__name__))
def test_errors_survive_a_process_boundary(cls: type[DacapoError]) -> None:
    copy = pickle.loads(pickle.dumps(cls("a 'message'")))
    assert (type(copy), str(copy)) == (cls, "a 'message'")


TROUBLES = {
    "no run '...' in .../configs/runs": "a run that is not stored",
    "task '...' is already stored with different content": "a name for two configs",
    "run '...' has no checkpoint of iteration ...; stored are ...": "predicting with a missing checkpoint",
    "run '...' is being trained by process ...": "a run that is trained already",
    "unknown Config type '...'; known are ...": "a config of no class",
    "dataset '...' does not exist in ...; it holds ...": "a missing dataset",
    "roi ... is not inside the array's roi ...": "a region outside",
    "the batch of iteration ... could not be made: ...": "data that is damaged",
    "... voxels of ... are NaN or infinite, the first at ...": "raw data with nan",
    "2 classes are numbered 0 to 1, but the labels are ...": "a class beyond the last",
    "an iteration with ... samples takes about ... of memory": "a training in a kilobyte",
    "the loss of iteration ... is nan; the weights were left unchanged": "a learning rate that is too high",
    "... need pymongo; install it with: pip install 'dacapo[mongo]'": "a package that is not installed",
    "... exists and was not written by dacapo, so it is kept": "an output that is not ours",
    "... ended with exit code ...; its output ends:": "a command that fails",
}
"""The messages on the page about trouble, and the mistakes that raise them."""


def test_the_page_about_trouble_quotes_these_messages() -> None:
    page = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
    assert re.findall(r"^\| `(.*?)` \|", page.read_text(encoding="utf-8"), re.MULTILINE) == list(TROUBLES)


@pytest.mark.parametrize("message", TROUBLES)
def test_messages_are_as_the_page_about_trouble_quotes_them(
    message: str, tmp_path: Path, options: DaCapoConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error, _, make = MISTAKES[TROUBLES[message]]
    with pytest.raises(error, match=".*".join(map(re.escape, message.split("...")))):
        make(tmp_path)
