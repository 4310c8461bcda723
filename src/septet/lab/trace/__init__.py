"""`septet trace`: which thread runs, which waits, and for what, drawn from one second of a real run.

    visitors (a process)  ask ->  the server (a process, or many)  <- watched by the recorder
         |                              |                                     |
         | when each asked              | span log: turns of requests         | switches, samples
         +---------------------------> requests <----- timeline <-------------+
                                          |
                               picture, page, Perfetto file

What is a matter of the kernel stands in `perf` and `tasks`, what is a matter of thinking in `timeline`, `requests` and
`why`: those are pure functions of records, and tested without a kernel.
"""
