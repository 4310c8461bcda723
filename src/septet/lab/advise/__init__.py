"""`septet advise`: which model, how many workers and threads, for one application, one machine and one latency target.

What decides is kept apart from what measures. These know no process, socket or clock, and are tested with made-up
servers:

    candidate, limits    what could be run, and what this machine lets it use
    trial                what one run of the load generator means: held, broken, or not to be believed
    knee                 which rate to try next, until the highest that holds the target is known
    nature               whether the application waits or computes
    findings, search     what is known so far; which candidate to look at next, and why
    usl                  Gunther's law through what was measured
    bottleneck, advice   what limits it, which one to take, the runner-up
    queueing, plan       requests that come at random; many cores and machines, computed
    elsewhere, words     the same for gunicorn and uvicorn; all of it as a person, or a program, reads it

These do the work: `measure` runs a server and loads it, `course` goes from step to step, `evidence` keeps what was
measured, `display` tells what happens, `command` is the verb.
"""
