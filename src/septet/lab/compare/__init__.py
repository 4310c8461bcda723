"""`septet compare A B`: compares two results of `septet bench` and says whether anything got worse.

A cell is one server or model, in one setting, at one number of users; each cell of A is compared with that of B.

comparison        computes the ratios and judges them: a pure function of two results
differences       lists what differs between the two machines and experiments
comparison_text   all of it as text, Markdown or JSON

`septet.lab.metrics` has the figures that can be compared, and says for each whether more is better.
"""
