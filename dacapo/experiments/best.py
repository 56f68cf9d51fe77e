"""Keep the output and the checkpoint of the best iteration, by dataset and criterion."""

from __future__ import annotations

import shutil

from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.experiments.datasplits.datasets.arrays.ome_images import forget_image, is_image, list_image
from dacapo.experiments.run import Run
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.create_store import create_array_store, create_weights_store
from dacapo.store.files import link_or_copy
from dacapo.store.folders import atomic_folder, recover_folder


def keep_best(run: Run, iteration: int) -> None:
    """Keep output and weights of an iteration if it is the best so far, then delete its other arrays.

    Args:
        run: The run; its ``validation_scores`` include the iteration.
        iteration: The iteration just validated, with its arrays and checkpoint stored.
    """
    arrays, weights = create_array_store(), create_weights_store()
    evaluator = run.task.evaluator
    _recover(run)
    evaluator.set_best(run.validation_scores)
    for dataset in run.validation_scores.datasets:
        for criterion in filter(evaluator.store_best, run.validation_scores.criteria):
            parameters = evaluator.get_overall_best_parameters(dataset, criterion)
            best = None if parameters is None else evaluator.best_scores[(dataset, parameters, criterion)]
            if best is not None and best[0] == iteration:
                output = arrays.validation_output_array(run.name, iteration, str(parameters), dataset.name)
                best_array = arrays.best_validation_array(run.name, criterion, dataset.name)
                forget_image(best_array.container, best_array.dataset)
                _replace(output, best_array)
                _describe(best_array)
                weights.store_best(run.name, iteration, dataset.name, criterion)
    container, names = arrays.validation_container(run.name), [d.name for d in run.validation_scores.datasets]
    # A dataset may be named like the iteration; then its best output lies in the same group.
    done = [f"{iteration}/{name}" for name in names] if str(iteration) in names else [str(iteration)]
    for group in done:
        arrays.remove(container.array_identifier(group))


def _recover(run: Run) -> None:
    """Restore outputs that a killed process was about to replace, so that the best exists even if no later one is."""
    arrays = create_array_store()
    for dataset in run.validation_scores.datasets:
        for criterion in filter(run.task.evaluator.store_best, run.validation_scores.criteria):
            best_array = arrays.best_validation_array(run.name, criterion, dataset.name)
            recover_folder(best_array.container / best_array.dataset)


def _replace(source: LocalArrayIdentifier, target: LocalArrayIdentifier) -> None:
    """Replace an array by a copy of another; readers see one or the other.

    Where the file system supports hard links, both share their files. That is safe, because writing replaces a chunk's
    file and never changes it.
    """
    with atomic_folder(target.container / target.dataset) as copy:
        shutil.copytree(source.container / source.dataset, copy, copy_function=link_or_copy)


def _describe(target: LocalArrayIdentifier) -> None:
    """List an output as an OME-NGFF image of a single level, which viewers place by its units and offset."""
    array = ZarrArray.open_from_array_identifier(target, mode="r")
    if is_image(array):
        list_image(target.container, [(target.dataset, array)], None, array.dtype.kind in "biu")
