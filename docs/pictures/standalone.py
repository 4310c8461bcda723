"""A drawing as a file of its own, for pages that MkDocs does not make: `README.md`.

In the documentation a drawing takes the colours of the page. A file has to bring its own, for light and for dark.

    cd docs && python -m pictures.standalone layers > assets/architecture.svg
"""

import html
import sys

from pictures import PICTURES

ARCHITECTURE = (
    "layers",
    "cli and embedding import server, server imports models, models import service; below it stand apps, settings, "
    "session and processes, and below those net, proxies, websocket, rules, protocol, loop, http, pollers and exchange",
)
"""The drawing of the README, and what it shows, in words."""

_STYLE = """
.page{fill:#fff}
text{dominant-baseline:central;fill:#1f2328;font:13px system-ui,sans-serif}
.tiny{font-size:11px}.name{font-weight:700}
rect{stroke:#59636e}.box{fill:#fff}.thread{fill:#eaf3fb}
path{fill:none;stroke:#59636e;stroke-width:1.3}.dashed{stroke-dasharray:4 3}
.line-head,.dashed-head{fill:#59636e}
@media (prefers-color-scheme:dark){
.page{fill:#0d1117}text{fill:#e6edf3}rect{stroke:#9198a1}.box{fill:#0d1117}.thread{fill:#1b2a3a}
path{stroke:#9198a1}.line-head,.dashed-head{fill:#9198a1}
}
"""


def file_of(name: str, shows: str) -> str:
    """The drawing as an SVG document with a background, in colours that follow the reader's choice of light or dark."""
    drawing = PICTURES[name]().svg(html.escape(shows, quote=True))
    head, _, rest = drawing.partition(">")
    head = head.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" width="640" ')
    style = _STYLE.replace("\n", "")
    page = '<rect class="page" x="0" y="0" width="100%" height="100%" style="stroke:none"/>'
    return f"{head}><style>{style}</style>{page}{rest}\n"


if __name__ == "__main__":
    sys.stdout.write(file_of(sys.argv[1], ARCHITECTURE[1] if sys.argv[1] == ARCHITECTURE[0] else sys.argv[1]))
