"""The position of a network's output in its input, and its reach."""

from __future__ import annotations

import attrs


@attrs.frozen
class Reach:
    """The reach of a network along an axis.

    Attributes:
        halo: Input voxels needed on each side of an output region to compute it as in an unbounded volume.
        is_padded: Whether the output near the ends of an input depends on where the input ends, because the network
            pads it, for example with zeros. Without padding the network reads only its input.
    """

    halo: int
    is_padded: bool


def split_loss(lost: int) -> tuple[int, int]:
    """Divide the voxels that a network loses along an axis into those before and those after its output.

    If their number is odd, the extra voxel is after the output. Training, prediction and the halos of networks all
    place the output by this function; a network learns whatever shift it implies.
    """
    return lost // 2, lost - lost // 2
