"""The page of `septet bench --live`, and an example of Server-Sent Events: a file that grows, shown as it grows.

`septet bench --live` writes the state of an experiment to a file after each run, and starts this application in a
server of its own:

    SEPTET_LIVE_STATE=state.json septet serve septet.examples.live:application

The page at / loads nothing from elsewhere. The events at /events are the content of the file, each time it changed; the
last one ends the stream. The file is JSON with the keys that `septet.lab.live` writes.
"""

from septet.examples.live.application import application

__all__ = ["application"]
