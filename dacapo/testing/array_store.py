"""The contract of an array store, as a test suite.

Subclass :class:`ArrayStoreContract` and give it an empty store::

    class TestMyArrayStore(ArrayStoreContract):
        @pytest.fixture
        def store(self, tmp_path):
            return MyArrayStore(tmp_path)
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dacapo.errors import ArrayNotFoundError, ConfigError
from dacapo.experiments.datasplits.datasets.arrays.zarr_files import create_zarr2, open_zarr2
from dacapo.store.array_store import ArrayStore, LocalArrayIdentifier


class ArrayStoreContract:
    """Laws of the places that arrays are given, and of removing them."""

    @pytest.fixture
    def store(self) -> ArrayStore:
        """Return an empty store, whose containers lie below a temporary folder."""
        raise NotImplementedError

    def test_every_array_has_a_place_of_its_own(self, store: ArrayStore) -> None:
        places: list[LocalArrayIdentifier] = []
        for run, iteration, dataset in itertools.product(("run_a", "run_b"), (100, 200), ("first", "second")):
            places.append(store.validation_prediction_array(run, iteration, dataset))
            for parameters in ("P(id=0)", "P(id=1)"):
                places.append(store.validation_output_array(run, iteration, parameters, dataset))
        for run, name in itertools.product(("run_a", "run_b"), (None, "first", "second")):
            places.extend(store.validation_input_arrays(run, name))
        assert len(set(places)) == len(places)

    def test_containers_differ_between_runs_and_purposes(self, store: ArrayStore) -> None:
        containers = {
            container(run)
            for run in ("run_a", "run_b")
            for container in (store.snapshot_container, store.validation_container)
        }
        assert len(containers) == 4

    def test_a_written_array_can_be_removed_and_its_neighbors_stay(self, store: ArrayStore) -> None:
        raw, gt = store.validation_input_arrays("run", "first")
        for identifier in (raw, gt):
            written = create_zarr2(identifier.container, identifier.dataset, (3,), (3,), np.dtype(float), {})
            written[...] = 1
        store.remove(raw)
        assert not (raw.container / raw.dataset).exists()
        np.testing.assert_array_equal(open_zarr2(gt.container / gt.dataset, "r")[...], np.ones(3))

    def test_removing_what_is_not_there_is_an_error(self, store: ArrayStore) -> None:
        with pytest.raises(ArrayNotFoundError, match="prediction"):
            store.remove(store.validation_prediction_array("run", 1, "first"))

    @pytest.mark.parametrize("dataset", ["", ".", "..", "../other.zarr", "volumes/../../other.zarr", "/tmp"])
    def test_nothing_outside_the_container_is_removed(self, store: ArrayStore, dataset: str) -> None:
        container = store.validation_container("run").container
        other = container.parent / "other.zarr"
        for folder in (container / "volumes", other):
            folder.mkdir(parents=True)
        with pytest.raises(ConfigError, match="inside"):
            store.remove(LocalArrayIdentifier(container, dataset))
        assert container.is_dir()
        assert other.is_dir()

    @pytest.mark.parametrize("name", ["", "..", "../run", "a/b", "/run"])
    def test_run_names_cannot_lead_elsewhere(self, store: ArrayStore, name: str) -> None:
        with pytest.raises(ConfigError, match="run name"):
            store.validation_container(name)

    @pytest.mark.parametrize("name", ["", "..", "../../../elsewhere", "a/b"])
    def test_dataset_names_cannot_lead_elsewhere(self, store: ArrayStore, name: str) -> None:
        with pytest.raises(ConfigError, match="dataset name"):
            store.validation_prediction_array("run", 1, name)
        with pytest.raises(ConfigError, match="dataset name"):
            store.validation_output_array("run", 1, "P(id=0)", name)
        with pytest.raises(ConfigError, match="dataset name"):
            store.validation_input_arrays("run", name)
