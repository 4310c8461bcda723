"""`septet load --slo`: whether a server holds an objective at a rate, and the highest rate at which it does.

A gauge is one run of the load generator at one rate.

objective   the objective: its text, and which conditions a run has missed
gauge       carries out a gauge, and says what its outcome tells about the server, the load generator or the machine
search      which rate to try next
interval    the interval of the highest rate, from the outcomes of all gauges
told        tables, sentences and the file capacity.json
curve       the picture of latency over rate
command     carries out `septet load --slo`
"""
