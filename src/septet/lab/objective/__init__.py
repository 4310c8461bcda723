"""`septet load --slo`: whether a server holds an objective at a rate, and the highest rate at which it does.

objective   the objective: its text, and which conditions a run has missed
gauge       one run at one rate, and what its outcome says about the server, the load generator or the machine
search      which rate to try next
interval    the interval that all gauges together give
told        tables, sentences and the file capacity.json
curve       the picture of latency over rate
command     carries out `septet load --slo`
"""
