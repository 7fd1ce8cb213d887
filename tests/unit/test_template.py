"""What a template does where nobody wants it any more."""

import subprocess
import sys

import pytest

from tests.daemon import PATIENCE, unmeasured

LOADED_FOR_NOBODY = """
import socket, sys
from tifftockd.worker.template import run_template
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
ours.close()
run_template({"source": "built-in", "module": sys.argv[1]}, theirs.detach())
"""


@pytest.mark.parametrize(("module", "code"), [("tifftockd.handlers.log", 0), ("tifftockd.handlers.none", 1)])
def test_one_that_has_loaded_when_the_daemon_has_gone_ends_without_a_word(module, code):
    command = [sys.executable, "-c", LOADED_FOR_NOBODY, module]
    ended = subprocess.run(command, env=unmeasured(), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (ended.returncode, ended.stderr) == (code, "")
