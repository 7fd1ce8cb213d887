"""Machines, by release: freshly booted for each test, with the package installed or without."""

import pytest

from tests.faults import preload
from tests.system import package
from tests.system.machine import Machine
from tests.system.rootfs import RELEASES, rootfs
from tests.system.service import ACT, Service
from tests.system.tools import obstacle

_failed = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        for node in (item, item.getparent(pytest.Module)):
            node.stash[_failed] = True
    return report


@pytest.fixture(scope="session")
def compiler():
    """For tests that preload a library into the daemon, on this machine itself."""
    if reason := preload.obstacle():
        pytest.skip(reason)


@pytest.fixture(scope="session", params=RELEASES)
def release(request):
    if reason := obstacle():
        pytest.skip(reason)
    return request.param


@pytest.fixture(scope="session")
def deb(release, tmp_path_factory):
    return package.build(release, tmp_path_factory.mktemp(release))


@pytest.fixture(scope="session")
def base(release, deb):
    """A root file system with what the package depends on, so that apt needs no network to install it."""
    return rootfs(release, package.depends(deb))


def _booted(request, name, *lower):
    with Machine(name, *lower) as machine:
        machine.boot()
        yield machine
        if request.node.stash.get(_failed, False):
            machine.run("journalctl", "--sync", check=False)
            print(machine.run("journalctl", "--quiet", "--no-pager", "--boot", "--lines=200", check=False).stdout)


@pytest.fixture
def bare(request, release, base):
    """A machine without the package."""
    yield from _booted(request, release, base)


@pytest.fixture(scope="session")
def layer(release, deb, base):
    """What the package's installation writes, and beside it the drop-in ACT, ann of the group tifftock, and bob."""
    with Machine(f"{release}-layer", base) as machine:
        machine.boot()
        machine.run("apt-get", "install", "--yes", machine.push(deb, "/root"))
        Service(machine).dropin("act.py", ACT)
        machine.run("useradd", "--create-home", "--groups=tifftock", "ann")
        machine.run("useradd", "--create-home", "bob")
        machine.poweroff()
        yield machine.freeze()


@pytest.fixture
def service(request, release, base, layer):
    """The installed daemon, in a machine that has just been booted."""
    for machine in _booted(request, release, layer, base):
        yield Service(machine)


@pytest.fixture(scope="module")
def shared(request, release, base, layer):
    """The same, for all tests of a module that harm it in no way."""
    for machine in _booted(request, release, layer, base):
        yield Service(machine)
