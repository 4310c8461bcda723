"""The verb `migrate`: converts the configuration of another server to a septet.toml.

Each server has a module that reads its configuration and says which of our options takes the place of each setting.
Settings that have no counterpart are left out; the tables of `settings.other_servers` give the reason, which error
messages and the documentation show as well.
"""
