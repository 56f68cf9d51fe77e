"""The intermediate results of a segmentation, in a folder."""

from __future__ import annotations

import os
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import attrs
import numpy as np
import numpy.typing as npt

from dacapo.errors import BlockwiseError
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.files import paths_named, remove_file
from dacapo.store.folders import remove_folder

BLOCKS, PAIRS, RUNS = KINDS = ("blocks", "pairs", "runs")
"""Kinds of files of a segmentation."""

_FILES_PER_FOLDER = 1000
# Files that are read at the same time, while storage answers or their content is decompressed, or wait for their turn.
_READERS, _AHEAD = 8, 32


@attrs.frozen
class Workspace:
    """The folder and its content::

        fragments.zarr/fragments   the fragments of all blocks
        blocks/<n>/<block>.npz     sizes of the fragments of a block, sums of their evidence, labels of the halo
        pairs/<n>/<block>.npz      pairs of its fragments with those of later blocks
        runs/<n>/<run>.npz         all that joining needs of a run of blocks, see :class:`.Gathering`
        first.npy                  dense number of the first fragment of each block
        labels.npy                 lookup table: the label of each fragment, by dense number

    Attributes:
        folder: The folder.
    """

    folder: Path

    @property
    def fragments(self) -> LocalArrayIdentifier:
        """The array of fragments."""
        return LocalArrayIdentifier(self.folder / "fragments.zarr", "fragments")

    @property
    def first_file(self) -> Path:
        """The file with the dense number of the first fragment of each block."""
        return self.folder / "first.npy"

    @property
    def labels_file(self) -> Path:
        """The lookup table."""
        return self.folder / "labels.npy"

    def save(self, kind: str, index: int, **content: Any) -> None:
        """Write a file of a block or run, of the kind ``blocks``, ``pairs`` or ``runs``, completely or not at all."""
        file = self._file(kind, index)
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}.npz")
        # One process reads all the runs, and its time counts.
        write = np.savez if kind == RUNS else np.savez_compressed
        write(partial, **content)
        partial.replace(file)

    def load(self, kind: str, index: int, *names: str) -> list[npt.NDArray[Any]]:
        """Return content of a file of a block or run.

        Raises:
            BlockwiseError: If the file is missing or damaged.
        """
        try:
            with np.load(self._file(kind, index), allow_pickle=False) as loaded:
                return [np.asarray(loaded[name]) for name in names]
        except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
            raise BlockwiseError(f"{self._file(kind, index)} is missing or damaged: {error}") from error

    def load_all(self, kind: str, indices: Iterable[int], *names: str) -> Iterator[list[npt.NDArray[Any]]]:
        """Yield content of many files in order, while threads read the next ones.

        Raises:
            BlockwiseError: If a file is missing or damaged.
        """
        with ThreadPoolExecutor(_READERS, thread_name_prefix="dacapo-files") as threads:
            ahead: deque[Future[list[npt.NDArray[Any]]]] = deque()
            for index in indices:
                ahead.append(threads.submit(self.load, kind, index, *names))
                if len(ahead) == _AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def remove(self) -> None:
        """Delete all intermediate results.

        Raises:
            StorageError: If something cannot be deleted.
        """
        for path in (self.fragments.container, *(self.folder / kind for kind in KINDS)):
            remove_folder(path)
        for file in paths_named(self.folder, "*.npy"):
            remove_file(file)

    def _file(self, kind: str, index: int) -> Path:
        return self.folder / kind / str(index // _FILES_PER_FOLDER) / f"{index}.npz"
