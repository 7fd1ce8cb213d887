"""See where the daemon's time goes during a question: a flame graph for each start of it, by py-spy.

The graphs are files of .bench in the working directory; of `start` there is none, as a daemon is sampled once it runs.
py-spy reads another process's memory, which takes root, or a kernel.yama.ptrace_scope of 0.
"""

import itertools
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.bench import clients, rounds
from tests.bench.peers.environment import program
from tests.bench.question import Skipped
from tests.bench.session import session, tell

FOLDER = Path(".bench")
# Samples a second
RATE = 500


def add_arguments(parser):
    parser.add_argument("--raw", action="store_true", help="write stacks and their counts as text instead")


def run(arguments, questions):
    FOLDER.mkdir(exist_ok=True)
    try:
        spy = program("py-spy")
    except Skipped as reason:
        print(reason)
        return 1
    with session(arguments.quick) as (place, conditions):
        for name, question in questions.items():
            tell(name)
            watch = _watching(spy, name, arguments.raw)
            contenders = {who: question.contenders[who] for who in question.ours}
            _, missing = rounds.ask(replace(question, runs=1), replace(place, watch=watch), contenders)
            for who, why in missing.items():
                print(f"{name}: {who} is missing: {why}")
        print(f"{conditions()}.")
    return 0


def _watching(spy, name, raw):
    """A context that samples a daemon, given its pid, and its workers: the threads that hold Python's lock, or work."""
    numbers = itertools.count(1)

    @contextmanager
    def watched(pid):
        path = FOLDER / f"{name}-{next(numbers)}{'.txt' if raw else '.svg'}"
        command = [
            *(spy, "record", "--pid", str(pid), "--subprocesses", "--threads", "--nonblocking", "--rate", str(RATE)),
            *("--format", "raw" if raw else "flamegraph", "--output", str(path)),
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=clients.PATIENCE)[1].decode(errors="replace")
            print(path if path.exists() else f"no {path}: {said.strip()}")

    return watched
