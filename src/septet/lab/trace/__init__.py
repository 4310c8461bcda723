"""`septet trace` draws which thread runs, which waits, and for what, in one second of a real run.

    visitors (a process)  ask ->  the server (a process, or many)  <- watched by the recorder
         |                              |                                     |
         | when each asked              | span log: turns of requests         | switches, samples
         +---------------------------> requests <----- timeline <-------------+
                                          |
                               picture, page, Perfetto file

A turn is a time in which the application works on a request. `perf` and `septet.lab.threads` read from the kernel;
`timeline` and `requests` are pure functions of records, and tested without a kernel.
"""
