"""FastAPI: a task that lifespan starts, tasks that requests start, events, an upload, a compressed file."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI, File, Form, UploadFile
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel

from real_apps.sites.data import DIRECTORY
from support import journal

TICK_S = 0.02

ticks = 0
tasks: set[asyncio.Task[None]] = set()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    ticker = asyncio.create_task(_tick())
    yield
    ticker.cancel()
    journal.write("lifespan ended")


async def _tick() -> None:
    global ticks
    while True:
        await asyncio.sleep(TICK_S)
        ticks += 1


app = FastAPI(lifespan=lifespan)
app.add_middleware(GZipMiddleware, minimum_size=500)


class Item(BaseModel):
    name: str
    price: float


@app.post("/items")
async def items(item: Item) -> Item:
    return item


@app.get("/ticks")
async def count_ticks() -> int:
    return ticks


@app.get("/task")
async def start_task(token: str) -> str:
    task = asyncio.create_task(_later(f"task {token}"))
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return "started"


async def _later(line: str) -> None:
    await asyncio.sleep(0.1)
    journal.write(line)


@app.get("/background")
async def background(token: str, later: BackgroundTasks) -> str:
    later.add_task(_later, f"background {token}")
    later.add_task(journal.write, f"background thread {token}")
    return "later"


@app.get("/events")
async def events(token: str) -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        try:
            for number in range(100_000):
                yield f"data: {number}\n\n"
                await asyncio.sleep(TICK_S)
        finally:
            journal.write(f"events ended {token}")

    return StreamingResponse(lines(), media_type="text/event-stream")


@app.post("/upload")
async def upload(file: Annotated[UploadFile, File()], title: Annotated[str, Form()]) -> dict[str, object]:
    content = await file.read()
    return {"name": file.filename, "size": len(content), "sum": sum(content), "title": title}


@app.get("/file")
async def file() -> FileResponse:
    return FileResponse(DIRECTORY / "pattern.txt")


def _resource() -> Iterator[str]:
    """A dependency with an end, in a thread."""
    yield "a resource"


@app.get("/thread")
def thread(resource: Annotated[str, Depends(_resource)]) -> str:
    return resource
