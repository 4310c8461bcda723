"""Finds out from /proc what the threads of a server do: run, wait for a CPU, or wait for something else, and for what.

    states     the states, and a sample of a thread in one of them
    tasks      takes the samples
    reasons    derives from a system call and its arguments what a thread waits for
    sockets    classifies file descriptors: listener, client, backend, ...
    gil        the share of time in which threads wait for the GIL

`bench` and `advise` use it for one figure (the GIL), `trace` for its pictures.
"""
