"""Where the time of a request goes: recorded after the measured runs of `septet bench`, for Septet's own server.

`parts` names the parts of a request's time, `split` computes them from what the user, the span log and samples of the
server's threads say of each request, `recording` carries out the short runs. Nothing of this touches the figures of the
experiment: these runs come after the last of its runs, on servers of their own.
"""
