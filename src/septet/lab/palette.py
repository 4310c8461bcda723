"""One fixed colour and line for each process model, in every picture, on white paper and on dark.

The family gives the hue: processes brown and orange, threads pink and plum, event loops blue and green, interpreters
violet. Within a family the line differs: dashed for workers made on demand, solid for workers made beforehand. The
colours were computed: with normal, deuteranope, protanope and tritanope vision (after Machado, Oliveira and Fernandes,
2009) any two are 22 or more apart in CIELAB, and each has a contrast of 3 to the paper, as WCAG 2.1 requires of lines
(1.4.11). A test checks this.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Style:
    """How a process model's line is drawn in charts. `colour` is for white paper and `dark` for dark paper, both as
    #RRGGBB; `dash` has the lengths of SVG's stroke-dasharray, empty for a solid line.
    """

    colour: str
    dark: str
    """The colour on dark paper."""
    dash: tuple[int, ...] = ()

    @property
    def middle(self) -> str:
        """The colour half way between `colour` and `dark`, for terminals, whose background is not known."""
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
    "interpreters": Style("#8700F0", "#872DFF"),
}
OTHERS = (  # for other servers and new models
    Style("#7A7A2A", "#B5B555", (2, 2)),
    Style("#008B9A", "#35B6C4", (2, 2)),
    Style("#A8323E", "#E0707B", (2, 2)),
    Style("#6B7280", "#A3AAB5", (2, 2)),
)


PARTS = {
    "listen": Style("#C1409E", "#C96FAE"),
    "buffer": Style("#2A1466", "#9A70F5"),
    "thread": Style("#A06B07", "#E8B000"),
    "gil": Style("#C0182C", "#FF4B2E"),
    "cpu": Style("#221B10", "#FFEFB8"),
    "application": Style("#29864F", "#35C27A"),
    "writing": Style("#0B52F0", "#8EBBFF"),
    "other": Style("#5A5A5A", "#C8C8C8"),
}
"""The colours of the parts of a request's time in bar charts, by the name of the part (see `septet.lab.where.parts`).
Words within a bar have the colour of the paper, so every colour has a contrast of 4.5 to the paper (WCAG 2.1, 1.4.3).
"""


def style_of(model: str) -> Style:
    """Return the style in which charts draw a process model. For the name of another server, return one of the styles
    in OTHERS, always the same one for the same name.
    """
    return STYLES.get(model) or OTHERS[sum(model.encode()) % len(OTHERS)]
