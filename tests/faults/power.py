"""What may be on a disk after the power was lost: a model of what POSIX promises, and not of any file system.

A file has what was synced, and of each later write all, nothing, or some of its sectors; a later truncation happened
or did not. A name is what it was at any moment since the folder was last synced, whatever became of other names.
File systems lose less than that in practice; a database that stands it stands them all.
"""

import os
from pathlib import Path

SECTOR = 512
# How the unsynced is dealt with: all of it lost, all of it there, or each piece by chance.
DROPPED, KEPT, TORN = "dropped", "kept", "torn"
# Of -shm SQLite believes nothing after a crash, and .lock says nothing once its holder is gone.
_SUFFIXES = ("", "-journal", "-wal")


class File:
    def __init__(self):
        self.durable = bytearray()
        self.pending = []  # calls since the last sync

    def sync(self):
        for call in self.pending:
            _apply(self.durable, call)
        self.pending.clear()

    def content(self, how, chance):
        data = bytearray(self.durable)
        for call in self.pending:
            if how == KEPT or (how == TORN and chance.random() < 0.5):
                _apply(data, call)
            elif how == TORN and call.kind == "write" and chance.random() < 0.5:
                _tear(data, call, chance)
        return data


def _apply(data, call):
    if call.kind == "truncate":
        del data[call.offset :]
        data.extend(bytes(call.offset - len(data)))
    else:
        _put(data, call.offset, call.data)


def _put(data, offset, piece):
    data.extend(bytes(max(0, offset - len(data))))
    data[offset : offset + len(piece)] = piece


def _tear(data, call, chance):
    """Some sectors of a write. What its file has grown by and not received is what the disk held there before."""
    end = call.offset + len(call.data)
    if end > len(data) and chance.random() < 0.5:
        size = len(data)
        data.extend(chance.choice((bytes, chance.randbytes))(end - size))
    at = call.offset
    while at < end:
        stop = min(end, (at // SECTOR + 1) * SECTOR)
        if chance.random() < 0.5:
            _put(data, at, call.data[at - call.offset : stop - call.offset])
        at = stop


class Disk:
    """The database's folder, as recorded calls change it."""

    def __init__(self, database):
        self._database = os.path.realpath(database)
        self._folder = os.path.dirname(self._database)
        self._names = {self._database + suffix: None for suffix in _SUFFIXES}  # what each is now; None: there is none
        # What each has been since the folder was last synced.
        self._versions = {name: [None] for name in self._names}

    def apply(self, call):
        if call.kind == "sync" and call.path == self._folder:
            self._versions = {name: [file] for name, file in self._names.items()}
        elif call.path in self._names:
            self._change(call)

    def _change(self, call):
        file = self._names[call.path]
        match call.kind:
            case "create":
                self._name(call.path, File())
            case "unlink":
                self._name(call.path, None)
            case "write" | "truncate":
                file.pending.append(call)
            case "sync":
                file.sync()
            case "failed":
                pass
            case _:
                raise AssertionError(f"there is no model of {call}")

    def _name(self, path, file):
        self._names[path] = file
        self._versions[path].append(file)

    def now(self):
        """What a reader sees while the power is on: name -> content."""
        return {name: file.content(KEPT, None) for name, file in self._names.items() if file is not None}

    def after_loss(self, how, chance):
        """What is there when the power is back: name -> content. `chance`: a random.Random."""
        found = {}
        for name, versions in self._versions.items():
            file = {DROPPED: versions[0], KEPT: versions[-1], TORN: chance.choice(versions)}[how]
            if file is not None:
                found[name] = file.content(how, chance)
        if how == TORN:
            # Pages that were mapped, of any age, or none at all.
            found[f"{self._database}-shm"] = chance.choice((b"", bytes(32768), chance.randbytes(32768)))
        return found


def lay_out(found, folder):
    """Write these contents into a folder, which has nothing else."""
    for file in Path(folder).iterdir():
        file.unlink()
    for name, content in found.items():
        Path(folder, os.path.basename(name)).write_bytes(content)
