"""Databases with many pending reminders, each made once and then copied."""

import os
import shutil

from tests import age

# None of them comes due meanwhile: the first of a million after an hour.
_AHEAD = 100 * 365 * age.DAY


class Stores:
    def __init__(self, folder):
        self._folder = folder

    def copy(self, pending, path):
        """Put a database with so many reminders there."""
        made = self._folder / f"{pending}.db"
        if not made.exists():
            self._folder.mkdir(exist_ok=True)
            age.make(made, pending=pending, final=0, history=0, ahead=_AHEAD)
        shutil.copyfile(made, path)
        path.chmod(0o600)
        # What of it is still to be written would be written, hundreds of megabytes, beside what is measured.
        os.sync()
