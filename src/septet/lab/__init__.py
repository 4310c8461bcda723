"""The laboratory: measures one application under every process model.

It runs `septet serve` as a separate process, like any other server, and shares no code with it: the measurement must
not depend on the server that it measures, and other servers can be measured in the same way.
"""
