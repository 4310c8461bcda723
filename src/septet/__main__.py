"""`python -m septet` is the command `septet`."""

from septet.cli import main

main()
