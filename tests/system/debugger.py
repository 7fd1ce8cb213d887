"""`debugger.py TID`: stop one thread and hold it, as a debugger does at a breakpoint, until the thread is dead.

The process that it belongs to runs on. Says "stopped" when the thread is. SIGTERM lets it go on: a tracer that ends
takes its hands off, ptrace(2).
"""

import ctypes
import os
import sys

PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
# waitpid(2): also for a thread that is not the leader of its process; Python's os module lacks the name.
WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request, tid):
    if _libc.ptrace(request, tid, None, None) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def hold(tid):
    _ptrace(PTRACE_SEIZE, tid)
    _ptrace(PTRACE_INTERRUPT, tid)
    while True:
        _, status = os.waitpid(tid, WALL)
        if not os.WIFSTOPPED(status):
            # Reaped here; its process could not be before.
            return
        print("stopped", flush=True)


if __name__ == "__main__":
    hold(int(sys.argv[1]))
