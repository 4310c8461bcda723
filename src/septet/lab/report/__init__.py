"""From results to what people look at: pictures, and a page with all of them that needs nothing from anywhere.

    results -> over_users, bars, distribution   what is drawn: values, words, the table below
            -> curves                           lines over an axis, as data of Vega-Lite
            -> drawing                          SVG and PNG; light, dark, wide, narrow
            -> findings                         what the figures let anybody say
            -> page                             report.html

Nothing is measured here, and nothing but results.json (and the pictures of a trace beside it) is read: whatever is
drawn can be drawn again later, by `septet report`.
"""
