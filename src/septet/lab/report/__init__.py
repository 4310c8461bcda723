"""Draws results: pictures as SVG and PNG, and report.html with all of them, which loads no other file.

    results -> over_users, bars, distribution   sections: pictures of one subject, and the table of their figures
            -> curves                           lines over an axis, as data of Vega-Lite
            -> drawing                          SVG and PNG; light, dark, wide, narrow
            -> findings                         sentences that the figures allow
            -> page                             report.html

Nothing is measured here, and only results.json (and the pictures of a trace beside it) is read, so that `septet report`
can draw everything again later.
"""
