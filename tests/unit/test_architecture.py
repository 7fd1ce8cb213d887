"""The rooms of tifftockd/ and what each may know of the others, read from the sources."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tifftockd
from tests.daemon import unmeasured

PACKAGE = Path(tifftockd.__file__).parent

# From the bottom to the top: each imports only from those before it. A room is a module, or a folder of modules.
ROOMS = [
    "errors",
    "imports",
    "threads",
    "clock",
    "journal",
    "metrics",
    "systemd",
    "when",
    "config",
    "reminder",
    "repeat",
    "settling",
    "store",
    "handlers",
    "worker",
    "executor",
    "scheduler",
    "api",
    "server",
    "daemon",
    "ctl",
    "trial",
    "testing",
    "cli",
    "__main__",
    "__init__",
]

CLOCKS = {
    *("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "clock_gettime"),
    *("clock_gettime_ns", "localtime", "gmtime", "ctime", "asctime", "strftime"),
}
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}


class Source:
    """One file of the package."""

    def __init__(self, file):
        self.path = file.relative_to(PACKAGE)
        self.room = self.path.parts[0].removesuffix(".py")
        self.nodes = list(ast.walk(ast.parse(file.read_text(), str(file))))

    def __repr__(self):
        return str(self.path)

    def imports(self):
        """Every imported name with its dots, wherever in the file and for whatever purpose."""
        for node in self.nodes:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self}:{node.lineno}: a relative import; write from tifftockd..."
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

    def rooms(self):
        """The other rooms that are imported from."""
        for name in self.imports():
            if name.startswith("tifftockd.") and name != "tifftockd.__version__":
                room = name.split(".")[1]
                # What is no room is one of the public names, which handlers and drop-ins are for.
                yield room if room in ROOMS else "__init__"

    def uses(self, module, names):
        """The lines that take one of the names from a module of the standard library."""
        for node in self.nodes:
            if isinstance(node, ast.ImportFrom) and node.module == module:
                yield from (node.lineno for alias in node.names if alias.name in names)
            elif isinstance(node, ast.Attribute) and node.attr in names and ast.unparse(node.value) == module:
                yield node.lineno


SOURCES = [Source(file) for file in sorted(PACKAGE.rglob("*.py"))]


def modules(room):
    """The dotted names of a room's modules; none if there is no such room yet."""
    for source in SOURCES:
        if source.room == room:
            yield ".".join(["tifftockd", *source.path.with_suffix("").parts]).removesuffix(".__init__")


def loaded_by(*names, then="pass"):
    """The top-level packages that a new Python process holds after it has imported these modules and done that."""
    code = f"import {', '.join(names)}, sys; {then}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=unmeasured())
    return set(result.stdout.split())


@pytest.mark.parametrize("source", SOURCES, ids=repr)
def test_a_room_imports_only_from_those_below_it(source):
    assert source.room in ROOMS, f"{source} is in no room; the rooms are {', '.join(ROOMS)}"
    place = ROOMS.index(source.room)
    above = {room for room in source.rooms() if ROOMS.index(room) > place}
    assert not above, f"{source} imports from {', '.join(sorted(above))}, which may import {source.room}"


def test_only_the_store_knows_the_database():
    libraries = {"dataset", "sqlalchemy", "alembic", "sqlite3"}
    knowing = {source.room for source in SOURCES if libraries & {name.split(".")[0] for name in source.imports()}}
    assert knowing <= {"store"}


def test_only_the_clock_reads_the_time():
    places = [
        f"{source}:{line}"
        for source in SOURCES
        if source.room != "clock"
        for line in (
            *source.uses("time", CLOCKS),
            *source.uses("datetime", {"now", "utcnow", "today"}),
            *source.uses("datetime.datetime", {"now", "utcnow", "today"}),
            *source.uses("date", {"today"}),
            *source.uses("datetime.date", {"today"}),
        )
    ]
    assert not places, "tifftockd.clock is there for that"


def test_only_the_composition_root_and_the_workers_touch_the_environment():
    """Handlers find their settings in os.environ, tifftockctl its own; everything else is handed a Config."""
    allowed = {"config", "cli", "ctl", "testing", "daemon", "handlers", "worker"}
    places = [
        f"{source}:{line}"
        for source in SOURCES
        if source.room not in allowed
        for line in source.uses("os", ENVIRONMENT)
    ]
    assert not places


@pytest.mark.parametrize("room", ["worker", "handlers"])
def test_what_workers_import_stays_small(room):
    names = list(modules(room))
    if names:
        heavy = {
            "dataset",
            "sqlalchemy",
            "alembic",
            "bottle",
            "waitress",
            "requests",
            "twilio",
            "apprise",
            "dotenv",
            "sdnotify",
            "oncalendar",
            "cronsim",
        }
        assert not loaded_by(*names) & heavy


def test_tifftockctl_knows_nothing_of_the_daemon_but_its_api():
    """It is a client like any other; times are read and written by the same code."""
    known = {room for source in SOURCES if source.room == "ctl" for room in source.rooms()} - {"ctl"}
    assert known <= {"errors", "clock", "when"}


def test_tifftockctl_loads_little():
    """It has to start fast, whatever the command; what only one of them needs, that one imports."""
    names = [name for name in modules("ctl") if not name.endswith("__main__")]
    heavy = {"dataset", "sqlalchemy", "bottle", "waitress", "requests", "twilio", "dotenv", "sdnotify", "asyncio"}
    assert not loaded_by(*names) & heavy
    of_a_list = loaded_by("tifftockd.ctl.cli", "tifftockd.ctl.parser", "tifftockd.ctl.commands")
    assert not of_a_list & {"zoneinfo", "hashlib", "tempfile", "csv", "difflib", "subprocess", "logging", "dataclasses"}


def test_a_trial_loads_neither_the_store_nor_the_server():
    """Each test of a handler would wait for them."""
    assert not loaded_by("tifftockd.testing") & {"dataset", "sqlalchemy", "bottle", "waitress"}


@pytest.mark.parametrize("name", ["tifftockd", "tifftockd.worker.template", "tifftockd.daemon", "tifftockd.cli"])
def test_what_is_for_tests_of_handlers_is_loaded_by_those_alone(name):
    code = f"import {name}, sys; print('tifftockd.testing' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"False\n"


@pytest.mark.parametrize("room", ["daemon", "cli"])
def test_the_daemon_loads_no_library_of_the_handlers(room):
    names = list(modules(room))
    if names:
        assert not loaded_by(*names) & {"requests", "twilio", "apprise"}


def test_the_daemon_loads_nothing_that_its_libraries_do_not_need_for_it():
    left_out = {"alembic", "asyncio", "ssl"}
    connect = "tifftockd.store.connection.connect('sqlite:///:memory:').executable"
    assert not loaded_by("tifftockd.daemon", then=connect) & left_out


def test_the_rules_see_what_they_forbid(tmp_path, monkeypatch):
    """A rule that finds nothing in the worst of files would find nothing anywhere."""
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    file = tmp_path / "when.py"
    file.write_text(
        "import time, datetime, os\n"
        "from time import monotonic\n"
        "from datetime import date\n"
        "from typing import TYPE_CHECKING\n"
        "from tifftockd import clock, store, __version__\n"
        "if TYPE_CHECKING:\n"
        "    from tifftockd.api.query import x\n"
        "def f():\n"
        "    import tifftockd.daemon\n"
        "    from tifftockd import RemindProcess\n"
        "    time.time(), datetime.datetime.now(), date.today(), os.environ['X'], clock.now()\n"
    )
    source = Source(file)
    assert set(source.rooms()) == {"clock", "store", "api", "daemon", "__init__"}
    assert sorted(source.uses("time", CLOCKS)) == [2, 11]
    assert list(source.uses("datetime.datetime", {"now"})) == [11]
    assert list(source.uses("date", {"today"})) == [11]
    assert list(source.uses("os", ENVIRONMENT)) == [11]
