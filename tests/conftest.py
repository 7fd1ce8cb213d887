"""What holds for every test."""

import pytest
from hypothesis import settings

from tests.ci_rule import pytest_make_collect_report, pytest_runtest_makereport  # noqa: F401 hooks that pytest finds here
from tests.daemon import NOTE, Daemon, end, running

# How long an example takes depends on what else the machine does.
settings.register_profile("tifftockd", deadline=None)
settings.load_profile("tifftockd")


@pytest.fixture
def daemon(tmp_path):
    """A daemon that has not been started, with the drop-in NOTE; it is stopped at the end."""
    made = Daemon(tmp_path).prepare()
    made.dropin("note.py", NOTE)
    yield made
    end(made)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A daemon that runs for all tests of a module: for those that harm it in no way."""
    with running(tmp_path_factory.mktemp("daemon")) as daemon:
        daemon.dropin("note.py", NOTE)
        daemon.reload()
        yield daemon
