"""How much the sites send and the visits expect."""

LINES = 40
LINE_BYTES = 200_000
"""A stream of so many lines is more than sockets hold."""

FILE_BYTES = 300_000
ROWS = 3000
ROW_BYTES = 1500
