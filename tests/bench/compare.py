"""Measure two revisions of the daemon in turn, by this revision's harness, and print the ratios."""

import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from tests.bench.figures import spread
from tests.bench.place import ROOT
from tests.bench.rounds import ask
from tests.bench.session import session, tell
from tests.bench.table import figure

NOW = "now"
GIT = ("git", "-C", str(ROOT))


def add_arguments(parser):
    parser.add_argument("base", metavar="BASE", help="the revision that the working tree is compared with")


def run(arguments, questions):
    known = [*GIT, "rev-parse", "--quiet", "--verify", f"{arguments.base}^{{commit}}"]
    if subprocess.run(known, stdout=subprocess.DEVNULL, check=False).returncode:
        print(f"there is no revision {arguments.base!r} here", file=sys.stderr)
        return 1
    # What takes minutes a run is asked when it is named.
    chosen = {name: one for name, one in questions.items() if arguments.questions or not one.slow}
    with session(arguments.quick) as (place, conditions), _sources(arguments.base, place.folder / "base") as tree:
        print(f"{'':<76}{arguments.base:>24}{NOW:>24}  ratio")
        for name, question in chosen.items():
            tell(name)
            found, missing = ask(question, place, _both(question, arguments.base, tree))
            print(question.title)
            for row in _rows(question):
                before, now = (spread(found[f"{who}: {row.of}"], row.figure) for who in (arguments.base, NOW))
                if before and now:
                    label = f"{row.label}, {row.unit}" if row.unit else row.label
                    ratio = figure(now.median / before.median) if before.median else ""
                    print(f"  {label:<74}{_figures(before):>24}{_figures(now):>24}  {ratio}")
            for who, why in missing.items():
                print(f"  {who} is missing: {why}")
        print(f"\n{conditions()}.")
    return 0


def _both(question, base, tree):
    """The question's own contenders, in either revision."""
    return {
        f"{who}: {name}": partial(_in, sources, question.contenders[name])
        for name in question.ours
        for who, sources in ((base, tree), (NOW, ROOT))
    }


def _in(tree, contender, place):
    return contender(replace(place, tree=tree))


def _rows(question):
    """Each figure once."""
    return {(row.of, row.figure): row for row in question.rows if row.of in question.ours}.values()


def _figures(spread):
    return f"{figure(spread.median)} ({figure(spread.least)} to {figure(spread.most)})"


@contextmanager
def _sources(revision, folder):
    """The files of a revision, in a worktree for now. The interpreter and its packages are those of this one."""
    subprocess.run([*GIT, "worktree", "add", "--quiet", "--detach", str(folder), revision], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*GIT, "worktree", "remove", "--force", str(folder)], check=True)
