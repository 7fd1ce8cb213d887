"""Measure tifftockd beside its limits and its peers, print one table, and draw how long each had to wait."""

from pathlib import Path

from tests.bench import picture, table
from tests.bench.rounds import ask
from tests.bench.session import session, tell


def add_arguments(parser):
    parser.add_argument("--markdown", action="store_true", help="the table for a page")
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="FILE",
        default=Path(".bench/performance.svg"),
        help="where the picture goes, an SVG (%(default)s)",
    )


def run(arguments, questions):
    sections, remarks, curves = [], [], []
    with session(arguments.quick) as (place, conditions):
        for name, question in questions.items():
            tell(name)
            found, missing = ask(question, place)
            if lines := table.lines(question, found):
                sections.append((question.title, lines))
            remarks += [f"{name}: {who} is missing: {why}" for who, why in missing.items()]
            remarks += [
                f"{name}: {who}: {made['details']}" for who, runs in found.items() for made in runs if "details" in made
            ]
            if question.curves is not None:
                curves.append((question.curves, found))
        print(table.as_markdown(sections) if arguments.markdown else table.as_text(sections))
        print("", *remarks, f"{conditions()}.", sep="\n")
        print("Times of disks and of shared CPUs differ from run to run: compare within one table.")
        if curves:
            arguments.picture.parent.mkdir(parents=True, exist_ok=True)
            arguments.picture.write_text(picture.draw(curves, conditions()))
            print(f"How long each had to wait: {arguments.picture}")
    return 1 if any(": it failed: " in remark for remark in remarks) else 0
