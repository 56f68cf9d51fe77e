"""The image, and its division into bands: which train, which one is chosen on, which one is scored."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import tifffile
from funlib.geometry import Coordinate

from tests.helpers.volumes import write_array

BANDS = 4
VOXEL = Coordinate(1, 1)  # the size of a pixel is not known, so units are pixels
FILES = {"raw": "img2d.tif", "labels": "mask2d.tif"}


@attrs.frozen
class Nuclei:
    """An image and its nuclei.

    Attributes:
        raw: Intensities (y, x).
        labels: A number for each nucleus, 0 for background.
    """

    raw: np.ndarray
    labels: np.ndarray

    @classmethod
    def read(cls, folder: Path) -> Nuclei:
        """Read both from a folder of TIFF files, as the package StarDist has one."""
        return cls(*(tifffile.imread(folder / name) for name in FILES.values()))

    def band(self, number: int) -> Nuclei:
        """Return one of the bands."""
        return self.rows(*band_rows(number, len(self.raw)))

    def rows(self, first: int, end: int) -> Nuclei:
        """Return the part from a row up to another."""
        return Nuclei(self.raw[first:end], self.labels[first:end])

    def write(self, container: Path) -> Path:
        """Write both as datasets of a Zarr container, and return its path."""
        for name, values in (("raw", self.raw), ("labels", self.labels.astype(np.uint32))):
            write_array(container, name, values, VOXEL, VOXEL * 0)
        return container


def band_rows(number: int, height: int) -> tuple[int, int]:
    """Return first and end of the rows of a band."""
    return number * height // BANDS, (number + 1) * height // BANDS


@attrs.frozen
class Fold:
    """A division of the image.

    Attributes:
        scored: The band that is left out and scored at the end.
        chosen: The band that checkpoints and parameters are chosen on.
    """

    scored: int
    chosen: int

    def trained(self, height: int) -> list[tuple[int, int]]:
        """Return first and end of the rows of each part that trains; adjacent bands are one part."""
        parts: list[tuple[int, int]] = []
        for number in range(BANDS):
            if number in (self.scored, self.chosen):
                continue
            first, end = band_rows(number, height)
            if parts and parts[-1][1] == first:
                first = parts.pop()[0]
            parts.append((first, end))
        return parts


FOLDS = tuple(Fold(number, (number + 1) % BANDS) for number in range(BANDS))


@attrs.frozen
class Result:
    """What a program made of the band that was left out.

    Attributes:
        segments: Segments or, for a foreground, a mask; 0 is background.
        seconds: Processor time of the training, or of the choice.
        chosen: What was chosen, as text.
    """

    segments: np.ndarray
    seconds: float
    chosen: str

    def save(self, path: Path) -> None:
        """Write it to a file."""
        np.savez_compressed(path, segments=self.segments, seconds=self.seconds, chosen=self.chosen)

    @classmethod
    def load(cls, path: Path) -> Result:
        """Read what :meth:`save` wrote."""
        with np.load(path) as file:
            return cls(file["segments"], float(file["seconds"]), str(file["chosen"]))
