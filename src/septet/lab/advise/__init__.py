"""`septet advise` finds the model and the numbers of workers and threads for an application and a latency target.

Decisions are kept apart from measurements. These modules know no process, socket or clock, and are tested with made-up
servers:

    candidates         what could be run, and what has been measured of each
    trial              what one run of the load generator means: target held, broken, or the run proves nothing
    capacity_search    which rate to try next, until the highest that holds the target is known
    workload_profile   whether the application waits or computes
    search             which candidate to measure next, and why; ranks what was measured
    usl                fits Gunther's law to the measured throughput
    advice             which candidate to take, the runner-up, and what limits them
    extrapolation      computes the capacity for requests at random instants, and for many cores and machines
    advice_text        all of it for people and programs; command lines for gunicorn and uvicorn

These do the work: `machine_limits` reads what this machine may use, `measure` runs a server and loads it, `search_run`
goes from step to step, `advice_file` stores what was measured, `progress_display` shows what happens, `command` is the
verb.
"""
