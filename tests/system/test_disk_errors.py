"""What users see of a disk that refuses: errors injected at each kind of call, and a file system that is full."""

import errno

import pytest

from tests.faults import disk, preload
from tests.system import tmpfs
from tests.system.tmpfs import SmallDisk

# Every kind of call by which the daemon changes its files while it lives: the log and its index, the database when the
# log is copied into it, the folder that holds their names. (To the lock's file only its number is written, for people.)
LIVING = {
    "write -wal", "sync -wal", "write -shm", "truncate -shm", "write tifftock.db", "sync tifftock.db",
    "truncate tifftock.db", "sync tifftock", "write .lock", "truncate .lock",
}  # fmt: skip
# And when it stops: the log is copied once more, and goes.
ENDING = {
    "write -wal", "sync -wal", "write tifftock.db", "sync tifftock.db", "truncate tifftock.db", "unlink -wal",
    "unlink -shm",
}  # fmt: skip


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return disk.prepare(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def calls(tmp_path_factory, prepared):
    """Those that can fail, with their numbers by their kind: while it lives, and when it stops."""
    if reason := preload.obstacle():
        pytest.skip(reason)
    return [by_kind(some) for some in disk.explore(tmp_path_factory.mktemp("explored"), prepared)]


def by_kind(calls):
    numbers = {}
    for call in calls:
        numbers.setdefault(disk.kind_of(call), []).append(call.number)
    return numbers


def test_every_kind_of_call_is_known(calls):
    living, ending = calls
    assert set(living) == LIVING
    assert set(ending) <= ENDING


@pytest.mark.parametrize("kind", sorted(LIVING))
def test_one_error_of_the_disk_is_survived(tmp_path, prepared, calls, kind):
    # The first of its kind. Should the daemon's threads have taken turns in another order than before, as they may on a
    # busy machine, it is another kind of call that has failed, and been survived: then the calls are looked at anew.
    numbers = calls[0]
    for life in range(6):
        folder = tmp_path / str(life)
        folder.mkdir()
        outcome = suffer(folder, prepared, numbers[kind][0], errno.ENOSPC, disk.ONCE)
        if outcome.failed == {kind: 1}:
            return
        (folder / "explored").mkdir()
        numbers = by_kind(disk.explore(folder / "explored", prepared)[0])
    raise AssertionError(f"no {kind} could be made to fail, but {outcome.failed}")


@pytest.mark.parametrize("kind", ["write -wal", "sync -wal", "write tifftock.db", "write -shm"])
def test_a_disk_that_refuses_is_said_borne_and_over_when_it_is_well(tmp_path, prepared, calls, kind):
    numbers = calls[0][kind]
    outcome = suffer(tmp_path, prepared, numbers[len(numbers) // 2], errno.EIO, disk.LASTING)
    assert outcome.failed


def test_what_was_accepted_survives_a_crash_of_a_daemon_whose_disk_refuses(tmp_path, prepared, calls):
    numbers = calls[0]["sync -wal"]
    outcome = suffer(tmp_path, prepared, numbers[len(numbers) // 2], errno.EIO, disk.CRASH)
    assert outcome.failed


def suffer(folder, prepared, number, error, manner):
    outcome = disk.suffer(folder, prepared, disk.Point(number, error, manner))
    assert not outcome.complaints, "\n".join(outcome.complaints)
    return outcome


def test_a_disk_that_refuses_when_the_daemon_stops_costs_nothing(tmp_path, prepared, calls):
    outcome = disk.suffer_at_the_end(tmp_path, prepared, errno.EIO)
    assert not outcome.complaints, "\n".join(outcome.complaints)
    assert outcome.failed


@pytest.fixture
def small(tmp_path, prepared):
    """A daemon whose database is on a small disk, its client, and the disk."""
    if reason := tmpfs.obstacle():
        pytest.skip(reason)
    point = tmp_path / "state" / "tifftock"
    point.mkdir(parents=True)
    with SmallDisk(point, megabytes=32) as full:
        use = disk.begin(tmp_path, prepared, full.seen)
        use.daemon.prefix = full.prefix
        yield use, full
        disk.kill_all(use.daemon)


def test_a_file_system_that_is_full_is_said_borne_and_over_when_there_is_room(small):
    use, full = small
    assert use.start()
    use.work()
    full.fill(leaving=200_000)
    for _ in range(500):
        if use.refused:
            break
        use.create(3600, padding="x" * 4000)
    full.fill()
    use.work()
    use.bear()
    full.free()
    use.recover()
    use.end()
    assert use.refused
    assert not use.complaints, "\n".join(use.complaints)


def test_a_start_after_a_crash_on_a_full_file_system_answers_and_goes_on_when_there_is_room(small):
    use, full = small
    full.fill()
    assert use.start()
    use.bear()
    full.free()
    use.recover()
    use.end()
    assert not use.complaints, "\n".join(use.complaints)


def test_a_start_for_which_there_is_no_room_says_so_and_loses_nothing(small):
    use, full = small
    # After a stop the index of the log is not there, and has to be made anew.
    (full.seen / "tifftock.db-shm").unlink()
    full.fill()
    assert not use.start()
    assert "cannot open" in use.daemon.log_text()
    full.free()
    assert use.start()
    use.recover()
    use.end()
    assert not use.complaints, "\n".join(use.complaints)
