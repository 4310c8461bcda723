"""The verb `migrate`: the settings of another server as a septet.toml.

A module for each server reads what it is configured by, and says for each of its settings which of ours takes its
place. What is left out, and why, is said by the tables of `settings.other_servers`, which error messages and the pages
of the documentation show as well.
"""
