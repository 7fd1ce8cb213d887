"""What stands in for a module that is left out, and when no longer."""

import importlib
import json
import sys

import pytest

from tifftockd.imports import leaving_out

NAME = "wave"  # of the standard library; nobody else imports it


@pytest.fixture(autouse=True)
def _forgotten():
    sys.modules.pop(NAME, None)
    yield
    sys.modules.pop(NAME, None)


def test_it_has_these_parts_and_all_else_is_of_no_use():
    with leaving_out(NAME, open=len):
        wave = importlib.import_module(NAME)
    assert (wave.open, wave.Wave_read) == (len, object)


@pytest.mark.parametrize("error", [None, ImportError])
def test_afterwards_it_is_the_real_one(error):
    try:
        with leaving_out(NAME):
            if error is not None:
                raise error
    except ImportError:
        pass
    assert importlib.import_module(NAME).Wave_read is not object


def test_what_is_there_stays_as_it_is():
    with leaving_out("json", loads=len):
        assert importlib.import_module("json") is json
    assert json.loads("1") == 1
