"""Random changes of brightness and contrast."""

from __future__ import annotations

import gunpowder as gp

from dacapo.errors import TrainingError


class IntensityAugment(gp.IntensityAugment):  # type: ignore[misc]
    """Scale values around their mean and shift them, by random amounts.

    The node of gunpowder, which says what to do about values that it cannot clip.
    """

    def process(self, batch: gp.Batch, request: gp.BatchRequest) -> None:
        """Change the values.

        Raises:
            TrainingError: If values are to be kept between 0 and 1 and are not there.
        """
        data = batch[self.array].data
        low, high = data.min(), data.max()
        if self.clip and not (low >= 0 and high <= 1):
            raise TrainingError(
                f"raw values go from {low:g} to {high:g}, but IntensityAugmentConfig keeps them between 0 and 1; bring "
                "them there with an IntensitiesArrayConfig around the raw array, or set clip to false"
            )
        super().process(batch, request)
