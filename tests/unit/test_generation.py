"""A generation of handlers while the daemon stops."""

from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from tifftockd.executor.generation import Generation
from tifftockd.executor.loop import Loop


@pytest.mark.parametrize("stopped", [True, False])
def test_what_has_been_loaded_after_the_stop_begins_nothing(stopped):
    pool = Mock()
    generation = Generation(Loop("test"), SimpleNamespace(environ={}), Mock(), lambda _spec, _template: pool, {}, None)
    if stopped:
        generation.stop()
    generation._use(SimpleNamespace(method="log"), Mock())
    assert pool.stop.called == stopped
