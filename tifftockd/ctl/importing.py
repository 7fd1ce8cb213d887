"""Many reminders from a file: looked at by the daemon first, and made only when all of them are right.

The daemon creates an array's reminders all or not at all. With an item behind them that is wrong for certain, it says
what is wrong with each and creates none: so it is asked. It keeps the Idempotency-Key of what it has created for a
day, and answers a second request under it before it judges the body: so what an earlier run has made is found.
"""

from __future__ import annotations

import argparse
import hashlib
import secrets
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from tifftockd.ctl import shapes
from tifftockd.ctl.client import Client, to_json
from tifftockd.ctl.errors import EX_DATAERR, EX_NOINPUT, Failure, Refused
from tifftockd.ctl.fields import read_input
from tifftockd.ctl.progress import Progress
from tifftockd.ctl.records import Bad, Record, read_records
from tifftockd.ctl.screen import Screen
from tifftockd.ctl.text import count

# The API takes 10,000 and 8 MiB: less is on disk sooner, and can be seen to go on.
_MOST, _LARGEST = 1000, 4 * 1024 * 1024
# What can be no reminder, in any version of the daemon.
_STOP = None
# So many bad lines are named; the rest is counted.
_NAMED = 50
# So many fields
_FIELDS_NAMED = 10


class Batch(NamedTuple):
    """Some records that follow each other, and the key under which they are made."""

    records: list[Record]
    key: str


def import_file(options: argparse.Namespace, screen: Screen, client: Client) -> int:
    """Run the command and return its exit code. Failure."""
    found = read_records(_read(options.file), options.format)
    if found.dropped:
        some = ", ".join(name[:64] for name in islice(found.dropped, _FIELDS_NAMED))
        more = ", and others" if len(found.dropped) > _FIELDS_NAMED else ""
        screen.note(f"not imported, as reminders have no such field: {some}{more}")
    # Keys that no other run has: this one makes all of them, and none can go on with it.
    salt = secrets.token_hex(16) if options.again else ""
    batches = list(_batches(found.records, salt))
    before, bad = _look(screen, client, batches)
    bad = sorted([*found.bad, *bad])
    _name(screen, bad)
    wrong = {one.number for one in bad}
    new = [batch for batch in batches if batch not in before]
    known = sum(len(batch.records) for batch in before)
    if known:
        screen.note(
            f"{known} of them came in an earlier run, which made what was right of them: they are not sent again;"
            " --again makes all of them once more"
        )
    if bad and not options.skip_bad:
        total = count(len(found.records) + len(found.bad), "reminder")
        raise Failure(f"nothing was imported: {len(bad)} of {total} are wrong; --skip-bad imports the rest", EX_DATAERR)
    left = sum(one.number not in wrong for batch in new for one in batch.records)
    if options.dry_run:
        screen.note(f"{count(left, 'reminder')} would be imported" + (f", {len(bad)} skipped" if bad else ""))
        return 0
    made = _send(screen, client, new, wrong, left, options.again)
    screen.out.flush()
    screen.note(f"{count(made, 'reminder')} imported" + (f", {len(bad)} skipped" if bad else ""))
    if bad:
        screen.note("when those are mended, import only them: with others beside them all would be made again")
    return 0


def _read(file: str) -> bytes:
    try:
        if file == "-":
            return read_input()
        with open(file, "rb") as opened:
            return opened.read()
    except OSError as error:
        raise Failure(f"cannot read {file}: {error.strerror}", EX_NOINPUT) from None


def _batches(records: Sequence[Record], salt: str) -> Iterator[Batch]:
    """In their order; the same file and salt give the same ones."""
    first, size, some = 0, 0, list[Record]()
    for place, record in enumerate(records):
        length = len(to_json(record.fields)) + 2
        if some and (len(some) == _MOST or size + length > _LARGEST):
            yield Batch(some, _key(first, some, salt))
            first, size, some = place, 0, []
        some.append(record)
        size += length
    if some:
        yield Batch(some, _key(first, some, salt))


def _key(first: int, records: Sequence[Record], salt: str) -> str:
    """Of content and position: two equal parts of a file are two."""
    content = to_json([first, [record.fields for record in records]])
    return f"tifftockctl-import-{hashlib.sha256(salt.encode() + content).hexdigest()}"


# ---- looking


def _look(screen: Screen, client: Client, batches: Sequence[Batch]) -> tuple[list[Batch], list[Bad]]:
    """Which batches have been made before, and what the daemon says is wrong with the others."""
    before, bad = [], []
    progress = Progress(screen, "looking", sum(len(batch.records) for batch in batches))
    done = 0
    try:
        for batch in batches:
            progress.show(done)
            errors = _errors(client, batch.records, batch.key)
            if errors is None:
                before.append(batch)
            else:
                bad += errors
            done += len(batch.records)
    finally:
        progress.clear()
    return before, bad


def _errors(client: Client, records: Sequence[Record], key: str | None) -> list[Bad] | None:
    """What is wrong with them; None if they were made before under this key."""
    try:
        client.ask("POST", "/reminders", [*(record.fields for record in records), _STOP], key)
    except Refused as refused:
        if refused.kind == "key_reused" and key is not None:
            return None
        if refused.kind == "some_invalid":
            return _bad(client, records, refused)
        # What stands for the whole body: half of it is asked about, and so on, until it is known which one is meant.
        if refused.status not in (400, 413):
            raise
        if len(records) == 1:
            return [Bad(records[0].number, records[0].where, refused.message)]
        half = len(records) // 2
        return [*(_errors(client, records[:half], None) or []), *(_errors(client, records[half:], None) or [])]
    raise client.stranger("it took what is no reminder")


def _bad(client: Client, records: Sequence[Record], refused: Refused) -> list[Bad]:
    errors = refused.said.get("errors")
    if not isinstance(errors, list):
        raise client.stranger("it does not say which are wrong")
    bad = []
    for error in errors:
        given = shapes.check(client, error, {"index": (int,), "error": (str,)})
        if 0 <= given["index"] < len(records):
            past = "it is past: " if given.get("kind") == "too_late" else ""
            record = records[given["index"]]
            bad.append(Bad(record.number, record.where, past + given["error"]))
    return bad


def _name(screen: Screen, bad: Sequence[Bad]) -> None:
    for one in bad[:_NAMED]:
        screen.note(f"{one.where}: {one.why}")
    if len(bad) > _NAMED:
        screen.note(f"and {len(bad) - _NAMED} lines more")


# ---- making


def _send(screen: Screen, client: Client, batches: Sequence[Batch], wrong: set[int], left: int, again: bool) -> int:
    """Make what is not wrong; how many that were."""
    progress = Progress(screen, "importing", left)
    done = 0
    try:
        for batch in batches:
            progress.show(done)
            records = [record for record in batch.records if record.number not in wrong]
            if records:
                made = _make(client, records, batch.key)
                done += len(records)
                if screen.as_json:
                    for one in made:
                        screen.json(one)
        progress.show(done)
    except (Failure, KeyboardInterrupt) as error:
        progress.clear()
        rest = "run it again within 24 hours for the rest: nothing is made twice"
        if again:
            rest = "with --again that cannot be continued: import the rest from another file"
        said = f"{done} of {left} are imported; {rest}"
        if isinstance(error, Failure):
            raise Failure(f"{error.message}; {said}", error.code) from None
        screen.note(said)
        raise
    progress.clear()
    return done


def _make(client: Client, records: Sequence[Record], key: str) -> list[Any]:
    try:
        made = client.ask("POST", "/reminders", [record.fields for record in records], key).value
    except Refused as refused:
        if refused.kind != "some_invalid":
            raise
        # Right a moment ago: its time has passed, or a method has gone.
        raise Failure(
            "; ".join(f"{one.where}: {one.why}" for one in _bad(client, records, refused)), EX_DATAERR
        ) from None
    if not isinstance(made, list) or len(made) != len(records):
        raise client.stranger("it does not give back what it has made")
    return made
