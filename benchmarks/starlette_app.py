"""A Starlette application of one view: a name from the path, a small page. As a developer writes it, nothing tuned."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from apps import page


async def hello(request: Request) -> HTMLResponse:
    return HTMLResponse(page("Hello", request.path_params["name"]))


app = Starlette(routes=[Route("/hello/{name}", hello)])
