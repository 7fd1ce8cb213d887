"""The worker's side: processes that load handlers and run attempts, so that no handler runs in the daemon.

    daemon -- parent (bare, single-threaded, runs no handler code)
                |-- template of lamp.py (imported it once) -- worker, worker
                `-- template of email                      -- worker

Each process is forked from the one above it, which costs a millisecond where a new interpreter with its imports
costs a hundred. Parent and templates take commands on a SOCK_SEQPACKET socket, with descriptors beside them; a
worker takes attempts and answers on a stream of its own (a stream still gives the answers of a process that has
died; SEQPACKET would forget them), one JSON object a line. Nothing is pickled: a handler could forge it.

Whoever dies takes those below along: a worker and a template are killed by the kernel with the process that forked
them (PR_SET_PDEATHSIG), the parent ends when the daemon's end of its socket is closed.

Nothing here imports what the daemon is made of: these processes stay small and start fast.
"""
