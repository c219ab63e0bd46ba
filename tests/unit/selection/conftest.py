"""One small domain for all tests of the selection."""

import pytest

from tests.unit.selection.material import make_material


@pytest.fixture(scope="session")
def material(tmp_path_factory, random_model):
    return make_material(tmp_path_factory.mktemp("selection"), random_model)
