"""One fixed colour and line for each process model, in every picture, on white paper and on dark.

The family gives the hue: processes brown and orange, threads pink and plum, event loops blue and green. The line tells
apart within a family: made on demand dashed, made beforehand solid. The colours were searched for, not picked: seen by
normal, deuteranope, protanope or tritanope eyes (after Machado, Oliveira and Fernandes, 2009) any two lie 22 or more
apart in CIELAB, and each has a contrast of 3 to the paper, as WCAG 2.1 wants it of lines (1.4.11). A test holds them
to that.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Style:
    """How a model's line looks; `dash` as in SVG's stroke-dasharray, empty for solid."""

    colour: str
    dark: str
    """The colour on dark paper."""
    dash: tuple[int, ...] = ()

    @property
    def middle(self) -> str:
        """Half way between the two, for a terminal, of which nobody tells whether it is light or dark."""
        halves = zip(bytes.fromhex(self.colour[1:]), bytes.fromhex(self.dark[1:]), strict=True)
        return "#" + bytes(sum(pair) // 2 for pair in halves).hex()


STYLES = {
    "iterative": Style("#111111", "#F2F2F2"),
    "forking": Style("#973717", "#D9401E", (7, 3)),
    "preforked": Style("#F25D05", "#F5B800"),
    "threaded": Style("#DB68B2", "#E47C99", (7, 3)),
    "prethreaded": Style("#6A385A", "#9A559E"),
    "poll": Style("#6C6EE1", "#A2C3FC", (7, 3)),
    "epoll": Style("#27297F", "#5E66E0"),
    "io_uring": Style("#12A868", "#3BE07A"),
}
OTHERS = (  # for other servers, and models that are new
    Style("#7A7A2A", "#B5B555", (2, 2)),
    Style("#008B9A", "#35B6C4", (2, 2)),
    Style("#A8323E", "#E0707B", (2, 2)),
    Style("#6B7280", "#A3AAB5", (2, 2)),
)


def style_of(model: str) -> Style:
    """The model's own; a model without one gets one that depends on its name alone."""
    return STYLES.get(model) or OTHERS[sum(model.encode()) % len(OTHERS)]
