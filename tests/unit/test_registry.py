"""Which methods there are, as every thread sees it while drop-ins are loaded and exchanged."""

import threading
import time

import pytest

from tests.daemon import PATIENCE, wait_until
from tifftockd.errors import HandlersLoading, InvalidInput
from tifftockd.handlers.registry import Registry
from tifftockd.handlers.spec import MethodSpec

# Long enough to see that somebody waits, and short enough for a test.
SHORT = 0.05


def spec(method, source="built-in", missing=None):
    return MethodSpec(method, source, None, False, None, None, None, None, True, None, None, None, missing)


class Call:
    """A call in a thread of its own, and what came of it."""

    def __init__(self, function, *args):
        self.error = self.result = None
        self._thread = threading.Thread(target=self._run, args=(function, *args), daemon=True)
        self._thread.start()

    def _run(self, function, *args):
        try:
            self.result = function(*args)
        except Exception as error:
            self.error = error

    def waits(self, seconds=SHORT):
        self._thread.join(seconds)
        return self._thread.is_alive()

    def end(self):
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "it still waits"
        if self.error is not None:
            raise self.error
        return self.result


def test_a_known_method_is_found_at_once_also_while_others_load():
    for loading in (True, False):
        registry = Registry([spec("log"), spec("email")], loading)
        assert registry.find("log", patience=0) == spec("log")
        assert registry.get("log") == spec("log")
        assert registry.why_not("log") is None
        assert registry.loading is loading


def test_methods_are_listed_by_name():
    registry = Registry([spec("sms"), spec("api")], loading=True)
    registry.add([spec("log"), spec("a", missing="A not set")])
    assert [one.method for one in registry.specs()] == ["a", "api", "log", "sms"]


def test_an_unknown_method_is_told_which_there_are():
    registry = Registry([spec("sms"), spec("api", missing="KEY not set")], loading=False)
    with pytest.raises(InvalidInput, match="^there is no method 'lamp'; there are: api, sms$") as refused:
        registry.find("lamp")
    assert (refused.value.field, refused.value.kind) == ("method", "unknown_method")
    assert registry.get("lamp") is None
    with pytest.raises(InvalidInput) as refused:
        registry.find("x" * 100_000)
    assert len(refused.value.message) < 200


def test_a_method_that_cannot_be_used_is_told_why():
    registry = Registry([spec("api", missing="API_REMIND_URL not set")], loading=False)
    with pytest.raises(InvalidInput, match="^method api cannot be used: API_REMIND_URL not set$") as refused:
        registry.find("api")
    assert (refused.value.field, refused.value.kind) == ("method", "method_unavailable")
    assert registry.get("api") is not None


def test_an_unknown_method_is_waited_for_while_drop_ins_load_and_found_when_it_comes():
    registry = Registry([spec("log")], loading=True)
    call = Call(registry.find, "lamp", PATIENCE)
    assert call.waits()
    registry.add([spec("other", "other.py")])
    assert call.waits(), "another drop-in ends nobody's waiting"
    registry.add([spec("lamp", "lamp.py")])
    assert call.end() == spec("lamp", "lamp.py")
    assert registry.loading


def test_one_that_comes_but_cannot_be_used_is_told_why():
    registry = Registry([], loading=True)
    call = Call(registry.find, "lamp", PATIENCE)
    assert call.waits()
    registry.add([spec("lamp", missing="LAMP_KEY not set")])
    with pytest.raises(InvalidInput, match="LAMP_KEY not set"):
        call.end()


def test_waiting_ends_when_no_more_are_to_come():
    registry = Registry([spec("log")], loading=True)
    calls = [Call(registry.find, f"lamp{n}", PATIENCE) for n in range(4)]
    assert calls[-1].waits()
    assert all(call.waits(0) for call in calls)
    registry.loaded()
    for call in calls:
        with pytest.raises(InvalidInput, match="there are: log"):
            call.end()


def test_a_few_wait_and_others_are_told_to_come_later():
    """Each that waits has one of the threads that answer."""
    registry = Registry([spec("log")], loading=True)
    calls = [Call(registry.find, "lamp", PATIENCE) for _ in range(20)]
    wait_until(lambda: sum(not call.waits(0) for call in calls) == 16, "the answers to all but four")
    for call in [call for call in calls if not call.waits(0)]:
        with pytest.raises(HandlersLoading):
            call.end()
    assert registry.find("log") == spec("log")
    registry.add([spec("lamp")])
    assert [call.end() for call in calls if call.error is None] == [spec("lamp")] * 4
    assert Call(registry.find, "moon", PATIENCE).waits(), "there is room again"
    registry.loaded()


def test_waiting_is_bounded_also_when_other_drop_ins_keep_coming():
    registry = Registry([], loading=True)
    start = time.monotonic()
    call = Call(registry.find, "lamp", 0.3)
    while call.waits():
        registry.add([spec("other")])
        assert time.monotonic() < start + PATIENCE
    with pytest.raises(HandlersLoading, match="still being loaded") as refused:
        call.end()
    assert time.monotonic() - start >= 0.3
    assert (refused.value.field, refused.value.kind) == ("method", "handlers_loading")
    assert refused.value.retry_after >= 1


def test_without_patience_nobody_waits():
    for patience in (0, -1):
        with pytest.raises(HandlersLoading):
            Registry([], loading=True).find("lamp", patience)


def test_a_drop_in_takes_the_place_of_a_built_in_method():
    registry = Registry([spec("log"), spec("api")], loading=True)
    registry.add([spec("log", "mine.py")])
    assert registry.find("log") == spec("log", "mine.py")
    assert [one.source for one in registry.specs()] == ["built-in", "mine.py"]


def test_wait_tells_whether_all_have_been_loaded():
    registry = Registry([], loading=True)
    assert not registry.wait(0)
    assert not registry.wait(SHORT)
    call = Call(registry.wait, PATIENCE)
    assert call.waits()
    registry.loaded()
    assert call.end() is True
    assert registry.wait(0) is True
    assert not registry.loading


def test_failures_are_listed_by_file_and_are_no_methods():
    registry = Registry([], loading=False)
    registry.fail("b.py", "line 1: SyntaxError")
    registry.fail("a.py", "it is not a file")
    assert registry.failures() == [("a.py", "it is not a file"), ("b.py", "line 1: SyntaxError")]
    assert registry.specs() == []


def test_each_reason_of_one_file_is_listed_once():
    registry, other = Registry([], loading=False), Registry([], loading=False)
    for reason in ("method a is already defined", "method b is already defined", "method a is already defined"):
        registry.fail("a.py", reason)
    other.become(registry)
    assert other.failures() == [("a.py", "method a is already defined"), ("a.py", "method b is already defined")]


def test_why_pending_reminders_wait():
    registry = Registry([spec("api", missing="KEY not set")], loading=True)
    assert registry.why_not("lamp") == "method lamp is still being loaded"
    assert registry.why_not("api") == "method api cannot be used: KEY not set"
    registry.loaded()
    assert registry.why_not("lamp") == "method lamp is not loaded"
    registry.add([spec("lamp")])
    assert registry.why_not("lamp") is None


def test_after_a_reload_it_knows_what_the_other_one_knew():
    registry, other = Registry([spec("old")], loading=True), Registry([spec("new")], loading=False)
    registry.fail("old.py", "broken")
    other.fail("new.py", "broken too")
    registry.become(other)
    assert [one.method for one in registry.specs()] == ["new"]
    assert registry.failures() == [("new.py", "broken too")]
    assert not registry.loading


def test_a_reload_ends_the_waiting_for_the_old_ones():
    registry, other = Registry([], loading=True), Registry([spec("lamp")], loading=False)
    calls = [
        Call(registry.find, "lamp", PATIENCE),
        Call(registry.find, "gone", PATIENCE),
        Call(registry.wait, PATIENCE),
    ]
    assert all(call.waits() for call in calls)
    registry.become(other)
    assert calls[0].end() == spec("lamp")
    with pytest.raises(InvalidInput, match="there are: lamp"):
        calls[1].end()
    assert calls[2].end() is True


def test_a_reload_that_still_loads_is_waited_for():
    registry, other = Registry([], loading=False), Registry([], loading=True)
    registry.become(other)
    call = Call(registry.find, "lamp", PATIENCE)
    assert call.waits()
    registry.add([spec("lamp")])
    assert call.end() == spec("lamp")


def test_what_the_other_one_learns_after_a_reload_is_nobodys_business():
    registry, other = Registry([], loading=True), Registry([spec("new")], loading=False)
    registry.become(other)
    other.add([spec("late")])
    other.fail("late.py", "its import took longer than 10 s")
    assert [one.method for one in registry.specs()] == ["new"]
    assert registry.failures() == []


def test_readers_are_not_disturbed_by_reloads():
    registry = Registry([spec("a", "0"), spec("b", "0")], loading=False)
    stop = threading.Event()

    def read():
        while not stop.is_set():
            assert registry.find("a").method == "a"
            assert [one.method for one in registry.specs()] == ["a", "b"]
            assert registry.why_not("b") is None

    readers = [Call(read) for _ in range(4)]
    for n in range(300):
        registry.become(Registry([spec("a", f"{n}"), spec("b", f"{n}")], loading=False))
    stop.set()
    for reader in readers:
        reader.end()


def test_a_reload_while_methods_are_listed_does_no_harm():
    registry = Registry([], loading=False)

    class Name(str):
        """The reload comes while the list is being sorted."""

        __slots__ = ()

        def __lt__(self, other):
            registry.become(Registry([spec("new")], loading=False))
            return str.__lt__(self, other)

    registry.add([spec(Name("a")), spec(Name("b"))])
    assert [one.method for one in registry.specs()] in (["a", "b"], ["new"])
