"""`septet load --slo`: whether a server holds an objective at a rate, and the highest rate at which it does.

objective   the objective: its text, and what of it a run has missed
gauge       one run at one rate, and what its outcome says: of the server, the load generator, or the machine
search      which rate to try next, and the interval that all gauges leave
told        tables, sentences and the file capacity.json
curve       the picture of latency over rate
command     carries both out for `septet load`
"""
