"""What the threads of a server do, read from /proc: running, waiting for a CPU, or blocked, and by what.

    states     the states, and a sample of a thread in one of them
    tasks      takes the samples
    reasons    from a system call and its arguments to what the thread waits for
    sockets    from a file descriptor to what is at its other end
    gil        the share of time in which threads wait for the GIL

`bench` and `advise` use it for one figure (the GIL), `trace` for its pictures.
"""
