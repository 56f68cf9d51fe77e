"""Where the output of a network lies in its input, and how far the network looks."""

from __future__ import annotations

import attrs


@attrs.frozen
class Reach:
    """What a network sees along an axis.

    Attributes:
        halo: Input voxels that are needed on each side of an output region to compute it as in an endless volume.
        is_padded: Whether the output near the ends of an input depends on where the input ends, because the network
            continues it by something, such as zeros. Without padding the network sees its input only.
    """

    halo: int
    is_padded: bool


def split_loss(lost: int) -> tuple[int, int]:
    """Divide the voxels that a network loses along an axis into those before its output and those after it.

    Of an odd number there is one more after it. Training, prediction and the halos of networks all place the output
    by this function; a network learns whatever shift it means.
    """
    return lost // 2, lost - lost // 2
