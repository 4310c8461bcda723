"""The laboratory: measures one application under every process model.

It runs `septet serve` as a separate process, like any other server, and shares no code with it: what is measured must
not depend on what measures, and other servers can take the same place.
"""
