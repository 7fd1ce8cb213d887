"""The power goes at any moment: whatever the disk has kept of what was not synced, nothing that was accepted is lost.

The life is recorded at the system calls, and the disks are a model (tests/faults/power.py): no real power is cut here.
`make soak` looks at thousands of states.
"""

import os

import pytest

from tests.faults import check, loss

FULL, NORMAL = "PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL"

pytestmark = pytest.mark.usefixtures("compiler")


def lose(recorded, states):
    return loss.lose(recorded, states, os.cpu_count())


def test_nothing_acknowledged_is_lost_with_the_power(tmp_path):
    recorded = loss.record(tmp_path, ("birth", "grow-old", "come-back"))
    assert loss.is_complete(recorded), "there are calls that the preload does not see"
    found = lose(recorded, 600)
    assert not found.kinds, found.examples
    assert len(found.states) > 300


def test_a_store_that_syncs_less_would_be_noticed(tmp_path):
    recorded = loss.record(tmp_path, ("birth",), ("store/connection.py", FULL, NORMAL))
    found = lose(recorded, 100)
    assert found.kinds[check.LOST] > 10, found
    assert found.kinds[check.DOUBLED] > 10, found
