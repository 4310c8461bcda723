"""A FastAPI application that asks a backend by httpx in each request: what many services do all day.

BENCH_BACKEND is the backend's URL. The client and its connections are kept, as httpx's documentation advises.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

BACKEND = os.environ["BENCH_BACKEND"]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=30) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/", response_class=PlainTextResponse)
async def ask() -> str:
    answer = await app.state.client.get(BACKEND)
    return f"The backend says: {answer.text}"
