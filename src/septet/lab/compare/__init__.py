"""`septet compare A B`: two results, cell by cell, and whether anything got worse.

comparison        the ratios and what follows from them: a pure function of two results
differences       what differs between the two experiments, apart from the figures
comparison_text   all of it as text, Markdown or JSON

Which figures are compared, and which way each is better, is in `septet.lab.metrics`.
"""
