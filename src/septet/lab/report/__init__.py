"""Draws results: pictures as SVG and PNG, and report.html with all of them, which loads no other file.

    results -> over_users, bars, distribution   sections: pictures of one subject, and the table of their figures
            -> curves                           lines over an axis, as data of Vega-Lite
            -> drawing                          SVG and PNG; light, dark, wide, narrow
            -> findings                         sentences about who is ahead, as far as the figures prove it
            -> page                             report.html

Nothing is measured here, and only results.json is read (and the pictures of a trace, if there are any beside it), so
that `septet report` can draw everything again later.
"""
