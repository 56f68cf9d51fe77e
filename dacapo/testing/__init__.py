"""Contract suites: what every array, task, trainer, architecture and store must do, as tests to subclass.

They are for packages that bring implementations of their own, and run on those of dacapo too. They need pytest
(``pip install "dacapo[test]"``). A suite is a class without the prefix ``Test``; subclass it in a test module and
give what its docstring asks for, mostly one fixture::

    import pytest

    from dacapo.testing.array import ArrayContract
    from my_package import MyArray, MyArrayConfig


    class TestMyArray(ArrayContract):
        @pytest.fixture
        def array(self):
            return MyArray(MyArrayConfig("mine", ...))

        def test_what_is_special_about_mine(self, array): ...

Fixtures may take other fixtures (``tmp_path``) and be parametrised, and a law that cannot hold for an implementation
is overridden, with a comment that says why.

The suites by module, and what a subclass gives:

- ``array``: :class:`~dacapo.testing.array.ArrayContract`; fixture ``array``
- ``task``: :class:`~dacapo.testing.task.TaskContract`; methods ``config``, ``ground_truth``
- ``trainer``: :class:`~dacapo.testing.trainer.TrainerContract`; methods ``config``, ``task``, ``datasets``, ``model``
- ``architecture``: :class:`~dacapo.testing.architecture.ArchitectureContract` or
  :class:`~dacapo.testing.architecture.SeamlessArchitectureContract`; fixture ``architecture``
- ``config_store``: :class:`~dacapo.testing.config_store.ConfigStoreContract`; fixtures ``store``, ``reopened``
- ``stats_store``: :class:`~dacapo.testing.stats_store.StatsStoreContract`; fixtures ``store``, ``reopened``
- ``weights_store``: :class:`~dacapo.testing.weights_store.WeightsStoreContract`; fixtures ``store``, ``reopened``
- ``array_store``: :class:`~dacapo.testing.array_store.ArrayStoreContract`; fixture ``store``
"""

import pytest

SUITES = ("array", "task", "trainer", "architecture", "config_store", "stats_store", "weights_store", "array_store")

# Has to happen before the modules are imported, for a failed assertion to show its values.
pytest.register_assert_rewrite(*(f"{__name__}.{suite}" for suite in SUITES))
