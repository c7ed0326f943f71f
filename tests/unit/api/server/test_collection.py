"""A full garbage collection must not go through everything that a process has loaded while requests wait."""

import gc

import pytest

from app.main import create_app
from tests.support.service import settings_for


@pytest.fixture
def _restored():
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("_restored")
@pytest.mark.parametrize("is_served", [True, False])
async def test_a_process_that_serves_leaves_out_of_collections_what_it_has_loaded(is_served):
    before = gc.get_freeze_count()
    app = create_app(settings_for("postgresql+asyncpg://nobody@127.0.0.1:1/nothing"), is_served=is_served)
    async with app.router.lifespan_context(app):
        frozen = gc.get_freeze_count() - before
        left = len(gc.get_objects())
    assert (frozen > left) is is_served
