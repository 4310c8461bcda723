"""One fixed colour and line for each process model, in every picture.

The colours are those that Okabe and Ito chose for all kinds of colour vision (2008), with two darker ones of Tol's in
place of black and yellow, which is faint on white. The family gives the hue: processes orange, threads purple, event
loops blue and green. The line tells apart within a family: made on demand dashed, made beforehand solid.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Style:
    """How a model's line looks; `dash` as in SVG's stroke-dasharray, empty for solid."""

    colour: str
    dash: tuple[int, ...] = ()


STYLES = {
    "iterative": Style("#555555"),
    "forking": Style("#D55E00", (7, 3)),
    "preforked": Style("#E69F00"),
    "threaded": Style("#CC79A7", (7, 3)),
    "prethreaded": Style("#882255"),
    "poll": Style("#56B4E9", (7, 3)),
    "epoll": Style("#0072B2"),
    "io_uring": Style("#009E73"),
}
OTHERS = (Style("#999933"), Style("#332288"), Style("#AA4499"), Style("#117733"))  # for models that are new


def style_of(model: str) -> Style:
    """The model's own; a model without one gets one that depends on its name alone."""
    return STYLES.get(model) or OTHERS[sum(model.encode()) % len(OTHERS)]
