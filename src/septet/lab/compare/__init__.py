"""`septet compare A B`: two results, cell by cell, and whether anything got worse.

metrics       which figures are compared, and which way each is better
comparison    the ratios and what follows from them: a pure function of two results
differences   what is not the same in the two experiments, apart from the figures
words         all of it as text, Markdown or JSON
"""
