"""What the daemon hands a worker comes to it as it was, and of a job that is cut off comes nothing."""

import io

from tifftockd.worker import jobs

OPTIONS = {
    "nothing": None,
    "no": False,
    "numbers": [2**63 - 1, -1.5],
    "texts": ["", "käse", "\ud800", "\0", "\U0001f9c0"],
    "": {"deep": [[{}]]},
}


def unpacked(data):
    return list(jobs.unpack(io.BytesIO(data)))


def test_jobs_come_as_they_were_and_in_their_order():
    handed = [{"job": 1, "options": OPTIONS}, {}, {"job": 2, "message": "x" * 1_000_000}, {"job": 3}]
    assert unpacked(b"".join(map(jobs.pack, handed))) == handed


def test_one_that_is_cut_off_is_none_whatever_is_missing():
    first, second = jobs.pack({"job": 1}), jobs.pack({"job": 2, "options": OPTIONS})
    for end in range(len(second)):
        assert unpacked(first + second[:end]) == [{"job": 1}], end
