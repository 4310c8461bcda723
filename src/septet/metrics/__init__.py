"""Metrics of a running server: a table of counters in shared memory, the observer that counts, and the forms in which
the counts are shown.
"""
