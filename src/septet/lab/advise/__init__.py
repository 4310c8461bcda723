"""`septet advise`: which model, how many workers and threads, for one application, one machine and one latency target.

Decisions are kept apart from measurements. These modules know no process, socket or clock, and are tested with made-up
servers:

    candidates         what could be run, and what is known of each
    trial              what one run of the load generator means: held, broken, or not to be believed
    capacity_search    which rate to try next, until the highest that holds the target is known
    workload_profile   whether the application waits or computes
    search             which candidate to measure next, and why; which comes first
    usl                Gunther's law through what was measured
    advice             which candidate to take, the runner-up, and what limits them
    extrapolation      requests that come at random; many cores and machines, computed
    advice_text        all of it for people and programs; command lines for gunicorn and uvicorn

These do the work: `machine_limits` reads what this machine may use, `measure` runs a server and loads it, `search_run`
goes from step to step, `advice_file` stores what was measured, `progress_display` shows what happens, `command` is the
verb.
"""
