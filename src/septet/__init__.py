"""Septet: a web server in which the Linux process model is a switch, and the laboratory that measures it."""

__version__ = "0.1.0"
