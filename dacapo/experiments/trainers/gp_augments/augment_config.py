"""The interface of augmentations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from dacapo.errors import ConfigError
from dacapo.experiments.config import Config
from dacapo.utils.declarations import stands_for
from dacapo.utils.field_types import mistyped_field

if TYPE_CHECKING:
    import gunpowder as gp
    import numpy as np
    import numpy.typing as npt

    from .change import Change, SampleRois


@attrs.define
class AugmentConfig(Config, ABC):
    """Base of the configs of augmentations.

    A config makes the same random change as a node of gunpowder (:meth:`node`) and on tensors (:meth:`torch_augment`).
    A subclass with nothing but a node works with the gunpowder trainer only. One that derives from
    :class:`ValueAugmentConfig` or :class:`GeometryAugmentConfig` needs nothing but the change of tensors.

    Attributes:
        works_on_tensors: Whether :meth:`torch_augment` does the same as :meth:`node`. True for a class that defines it;
            False again for a subclass that redefines only the node.
    """

    works_on_tensors: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Set ``works_on_tensors``, unless the class sets it itself."""
        super().__init_subclass__(**kwargs)
        if "works_on_tensors" not in vars(cls):
            cls.works_on_tensors = stands_for(cls, "torch_augment", ["node"], inherited=cls.works_on_tensors)

    @abstractmethod
    def node(self, raw_key: gp.ArrayKey, gt_key: gp.ArrayKey, mask_key: gp.ArrayKey) -> Any:
        """Return a gunpowder node that changes samples.

        Args:
            raw_key: Key of the raw data, of type float32.
            gt_key: Key of the ground truth.
            mask_key: Key of the mask. Changes of geometry must act on all three alike.
        """
        raise NotImplementedError

    def torch_augment(self, wanted: SampleRois, rng: np.random.Generator) -> Change:
        """Draw a change of one sample.

        Args:
            wanted: The regions of the changed sample.
            rng: Generator of all random numbers.

        Raises:
            ConfigError: If this augmentation is only a node of gunpowder.
        """
        raise ConfigError(
            f"{type(self).__name__} changes samples as a node of gunpowder only; use a GunpowderTrainer, or override "
            "torch_augment"
        )

    def problem(self) -> str | None:
        """Return what is wrong with the values, or None."""
        return None

    def misfit(self, dims: int) -> str | None:
        """Return why samples of this many spatial axes cannot be changed with these values, or None."""
        return None

    def verify(self) -> tuple[bool, str]:
        """Check the types of all fields, and that the values can work."""
        problem = mistyped_field(self) or self.problem()
        return (False, problem) if problem is not None else Config.verify(self)

    def at_prediction(self, raw: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return raw values after the part of this change that is the same for every sample, for prediction.

        Args:
            raw: Values as the raw array gives them, any axes.
        """
        return raw


@attrs.define
class ValueAugmentConfig(AugmentConfig, ABC):
    """Base of augmentations of raw values, written as a change of tensors."""

    def node(
        self, raw_key: gp.ArrayKey, _gt_key: gp.ArrayKey | None = None, _mask_key: gp.ArrayKey | None = None
    ) -> Any:
        """Return a gunpowder node that draws the change and applies it to raw data."""
        from dacapo.gp.apply_change import ApplyChange

        return ApplyChange(self.torch_augment, raw_key)

    @abstractmethod
    def torch_augment(self, wanted: SampleRois, rng: np.random.Generator) -> Change:
        """Draw the change of one sample, whose ``raw`` acts on raw values."""
        raise NotImplementedError


@attrs.define
class GeometryAugmentConfig(AugmentConfig, ABC):
    """Base of augmentations that move voxels, written as a change of tensors."""

    def node(
        self,
        _raw_key: gp.ArrayKey | None = None,
        _gt_key: gp.ArrayKey | None = None,
        _mask_key: gp.ArrayKey | None = None,
    ) -> Any:
        """Return a gunpowder node that draws the change and applies it to all arrays."""
        from dacapo.gp.apply_change import ApplyChange

        return ApplyChange(self.torch_augment)

    @abstractmethod
    def torch_augment(self, wanted: SampleRois, rng: np.random.Generator) -> Change:
        """Draw the change of one sample, which acts on all arrays."""
        raise NotImplementedError


def range_problem(name: str, limits: tuple[float, float]) -> str | None:
    """Return what is wrong with a smallest and a largest value, or None."""
    low, high = limits
    return None if low <= high else f"{name} is {limits}, but the smallest value comes first"
