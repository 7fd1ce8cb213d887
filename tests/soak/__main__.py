"""What takes long to ask of the daemon: `make soak`, or `python tests/soak QUESTION`. Each prints what it saw, dated.

What a question that was stopped has found so far is under .soak in the working directory: it goes on from there.
"""

import argparse
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.soak import (
    contract,
    crash_points,
    delays,
    disk_errors,
    kills,
    long_life,
    power_loss,
    recovery,
    repeat,
    rhythms,
)

QUESTIONS = {
    "crash-points": crash_points,
    "power-loss": power_loss,
    "disk-errors": disk_errors,
    "kills": kills,
    "delays": delays,
    "rhythms": rhythms,
    "recovery": recovery,
    "long-life": long_life,
    "contract": contract,
    "repeat": repeat,
}


def main():
    sys.stdout.reconfigure(line_buffering=True)
    parser = argparse.ArgumentParser(prog="python tests/soak", description="Ask whether the promises hold, for long.")
    questions = parser.add_subparsers(metavar="QUESTION", dest="question", help="without one, all of them")
    for name, module in QUESTIONS.items():
        module.add_arguments(questions.add_parser(name, help=module.__doc__, description=module.__doc__))
    arguments = parser.parse_args()
    chosen = [arguments] if arguments.question else [parser.parse_args([name]) for name in QUESTIONS]
    return max(QUESTIONS[one.question].run(one) for one in chosen)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
