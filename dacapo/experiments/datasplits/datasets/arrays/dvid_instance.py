"""Voxels on a DVID server, over its documented HTTP interface."""

from __future__ import annotations

import itertools
import math
import urllib.error
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import attrs
import numpy as np
import numpy.typing as npt

from dacapo.errors import ArrayNotFoundError, ConfigError, StorageError
from dacapo.utils.http import get
from dacapo.utils.plain_json import parse_json

MAX_REQUEST_BYTES = 64 * 2**20
"""Size of a single request; larger reads use several requests."""

Box = tuple[int, ...]


@attrs.frozen
class DvidInstance:
    """A data instance of one version of a repository.

    Attributes:
        server: Address of the server, such as ``https://dvid.example.org:8000``.
        uuid: The version.
        name: The data instance.
    """

    server: str
    uuid: str
    name: str

    @classmethod
    def at(cls, source: Sequence[str]) -> DvidInstance:
        """Return an instance.

        Args:
            source: Address of the server, optionally with ``http://`` or ``https://``, UUID of the version and name of
                the data instance.

        Raises:
            ConfigError: If these are not three strings, or the address is invalid.
        """
        listed = [] if isinstance(source, str) else list(source)
        if len(listed) != 3 or not all(isinstance(part, str) and part.strip() for part in listed):
            raise ConfigError(
                f"source is {source!r}; expected the address of a DVID server, a UUID, and the name of a data instance"
            )
        address, uuid, name = listed
        parts = urlsplit(address if "://" in address else f"http://{address}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                f"source: {address!r} is not a DVID server address; expected one such as 'dvid.example.org:8000' or "
                "'https://dvid.example.org'"
            )
        path = parts.path.rstrip("/").removesuffix("/api")
        return cls(f"{parts.scheme}://{parts.netloc}{path}", uuid, name)

    @property
    def url(self) -> str:
        """Address of the instance."""
        return f"{self.server}/api/node/{quote(self.uuid, safe='')}/{quote(self.name, safe='')}"

    def info(self) -> dict[str, Any]:
        """Return the server's metadata of the instance.

        Raises:
            ArrayNotFoundError: If the server does not have the version or the instance.
            StorageError: If the server cannot be reached, or its answer is not metadata.
        """
        try:
            found = parse_json(get(f"{self.url}/info"))
        except StorageError as error:
            if isinstance(error.__cause__, urllib.error.HTTPError) and error.__cause__.code in (400, 404):
                raise ArrayNotFoundError(str(error)) from error
            raise
        except ValueError as error:
            raise StorageError(f"{self.url}/info is not JSON ({error}); check that this is a DVID server") from error
        if not isinstance(found, Mapping):
            raise StorageError(f"{self.url}/info is {found!r}; expected the metadata of a DVID data instance")
        return dict(found)

    def read(
        self,
        begin: Sequence[int],
        end: Sequence[int],
        dtype: np.dtype[Any],
        values_per_voxel: int = 1,
        block: Sequence[int] = (1, 1, 1),
    ) -> npt.NDArray[Any]:
        """Read a box of voxels; all coordinates are z, y, x.

        Args:
            begin: Its first voxel.
            end: The voxel after its last one.
            dtype: Data type of the values.
            values_per_voxel: Number of values per voxel.
            block: Shape of the blocks in which the server stores voxels; large boxes are divided along them.

        Returns:
            Values of shape z, y, x, values.

        Raises:
            StorageError: If the server cannot be reached, or does not return these voxels.
        """
        shape = [e - b for b, e in zip(begin, end, strict=True)]
        values = np.empty((*shape, values_per_voxel), dtype=dtype)
        largest = MAX_REQUEST_BYTES // (dtype.itemsize * values_per_voxel)
        for low, high in boxes(begin, end, block, largest):
            place = tuple(slice(a - o, b - o) for a, b, o in zip(low, high, begin, strict=True))
            values[place] = self._request(low, high, dtype, values_per_voxel)
        return values

    def _request(
        self, begin: Sequence[int], end: Sequence[int], dtype: np.dtype[Any], values_per_voxel: int
    ) -> npt.NDArray[Any]:
        shape = [e - b for b, e in zip(begin, end, strict=True)]
        # The server uses the order x, y, z, with x fastest.
        url = f"{self.url}/raw/0_1_2/{_underscored(shape[::-1])}/{_underscored(begin[::-1])}"
        body = get(url)
        expected = math.prod(shape) * values_per_voxel * dtype.itemsize
        if len(body) != expected:
            raise StorageError(f"{url} holds {len(body)} bytes; expected {expected}, voxels of type {dtype}")
        return np.frombuffer(body, dtype=dtype.newbyteorder("<")).reshape(*shape, values_per_voxel)


def _underscored(numbers: Sequence[int]) -> str:
    return "_".join(map(str, numbers))


def boxes(begin: Sequence[int], end: Sequence[int], block: Sequence[int], largest: int) -> Iterator[tuple[Box, Box]]:
    """Divide a box into smaller ones, along the grid of blocks if blocks are small enough.

    Args:
        begin: First voxel of the box.
        end: Voxel after its last one.
        block: Shape of a block of the grid, which passes through 0.
        largest: Maximum number of voxels in a smaller box; at least 1.

    Yields:
        First voxel of a smaller box, and the voxel after its last one.
    """
    whole = [e - b for b, e in zip(begin, end, strict=True)]
    if 0 in whole:
        return
    step = list(whole)
    while math.prod(step) > largest:
        # Prefer an axis that still spans several blocks.
        axis = max(range(len(step)), key=lambda i: (step[i] > block[i], step[i]))
        half = -(-step[axis] // 2)
        step[axis] = -(-half // block[axis]) * block[axis] if step[axis] > block[axis] else half
    cuts = [
        [b, e] if s == n else sorted({b, *range((b // s + 1) * s, e, s), e})
        for b, e, s, n in zip(begin, end, step, whole, strict=True)
    ]
    for corner in itertools.product(*(itertools.pairwise(places) for places in cuts)):
        yield tuple(low for low, _ in corner), tuple(high for _, high in corner)
