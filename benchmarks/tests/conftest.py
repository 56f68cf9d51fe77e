"""Options in a temporary folder, few threads, fixed seeds, as in the tests of the package."""

from tests.conftest import _seeds, options

__all__ = ["_seeds", "options"]
