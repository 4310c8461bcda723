"""From results to pictures, and a page with all of them that loads nothing from anywhere.

    results -> over_users, bars, distribution   what is drawn: values, text, the table below
            -> curves                           lines over an axis, as data of Vega-Lite
            -> drawing                          SVG and PNG; light, dark, wide, narrow
            -> findings                         sentences that the figures allow
            -> page                             report.html

Nothing is measured here, and only results.json (and the pictures of a trace beside it) is read, so that `septet report`
can draw everything again later.
"""
