"""A Starlette application that compresses, and answers with a file."""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route


async def file(request: Request) -> FileResponse:
    return FileResponse(request.query_params["path"])


app = Starlette(routes=[Route("/file", file)], middleware=[Middleware(GZipMiddleware)])
