"""A datasplit that lists its datasets."""

from __future__ import annotations

from typing import ClassVar

import attrs

from dacapo.errors import ConfigError, DuplicateNameError
from dacapo.experiments.config import field

from .datasets import Dataset, DatasetConfig
from .datasets.common_world import in_one_world
from .datasplit import DataSplit, DataSplitConfig


class TrainValidateDataSplit(DataSplit):
    """A list of training datasets and a list of validation datasets."""

    train: list[Dataset]
    validate: list[Dataset]

    def __init__(self, datasplit_config: TrainValidateDataSplitConfig) -> None:
        """Build the datasets.

        Raises:
            ConfigError: If the parts of a dataset do not match, or a validation dataset has no ground truth.
            DuplicateNameError: If two validation datasets have the same name, which is the key of their scores and
                arrays.
        """
        name = datasplit_config.name
        first: dict[str, int] = {}
        for index, config in enumerate(datasplit_config.validate_configs):
            if first.setdefault(config.name, index) != index:
                raise DuplicateNameError(
                    f"validate_configs[{index}].name: {config.name!r} is the name of validate_configs"
                    f"[{first[config.name]}] too; their scores would overwrite each other; give each a unique name"
                )
        self.train, self.validate = in_one_world(datasplit_config.train_configs, datasplit_config.validate_configs)
        for dataset in self.validate:
            if dataset.gt is None:
                raise ConfigError(f"datasplit {name!r} validates on {dataset}, which has no gt to compare with")


@attrs.define
class TrainValidateDataSplitConfig(DataSplitConfig):
    """Config of a datasplit that lists its datasets."""

    datasplit_type: ClassVar[type[TrainValidateDataSplit]] = TrainValidateDataSplit

    train_configs: list[DatasetConfig] = field("The training datasets.")
    validate_configs: list[DatasetConfig] = field("The validation datasets; each needs a unique name.")

    def verify(self) -> tuple[bool, str]:
        """Check names, then that all datasets can be built."""
        problem = self._name_problem()
        return (False, problem) if problem is not None else super().verify()

    def _name_problem(self) -> str | None:
        """Return the path of a name that two datasets with different content share, or None."""
        first: dict[str, tuple[str, DatasetConfig]] = {}
        for kind in ("train_configs", "validate_configs"):
            for index, config in enumerate(getattr(self, kind)):
                place, other = first.setdefault(config.name, (f"{kind}[{index}]", config))
                if other != config:
                    return (
                        f"{kind}[{index}].name: {config.name!r} is the name of {place} too, which has different "
                        "content; give each a unique name"
                    )
        return None
