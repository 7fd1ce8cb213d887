"""How fast the daemon is, beside its limits and its peers: `make bench`, or `python tests/bench QUESTION...`.

Each question is a file in `questions`. What is compared has the same work, in the same table, in turn.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench import compare, measure, profiling
from tests.bench.questions import attempt, batch, burst, command, creates, growth, idle, lateness, outbound, start

QUESTIONS = {
    "creates": creates.QUESTION,
    "batch": batch.QUESTION,
    "lateness": lateness.QUESTION,
    "burst": burst.QUESTION,
    "attempt": attempt.QUESTION,
    "outbound": outbound.QUESTION,
    "idle": idle.QUESTION,
    "start": start.QUESTION,
    "command": command.QUESTION,
    "growth": growth.QUESTION,
}
WAYS = {"measure": measure, "compare": compare, "profile": profiling}


def main(words):
    way, words = (words[0], words[1:]) if words and words[0] in WAYS else ("measure", words)
    prog = "python tests/bench" if way == "measure" else f"python tests/bench {way}"
    parser = argparse.ArgumentParser(prog=prog, description=WAYS[way].__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything, for a first look: the figures jump")
    WAYS[way].add_arguments(parser)
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=f"only these: {', '.join(QUESTIONS)}")
    arguments = parser.parse_intermixed_args(words)
    for name in arguments.questions:
        if name not in QUESTIONS:
            parser.error(f"there is no question {name!r}; there are: {', '.join(QUESTIONS)}")
    chosen = {name: QUESTIONS[name] for name in arguments.questions}
    return WAYS[way].run(arguments, chosen or QUESTIONS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
