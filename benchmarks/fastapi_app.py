"""A FastAPI application of one view: a name from the path, a model that pydantic writes. As a developer writes it."""

from fastapi import FastAPI
from pydantic import BaseModel


class Greeting(BaseModel):
    """What the view answers."""

    title: str
    name: str
    number: int


app = FastAPI()


@app.get("/hello/{name}")
async def hello(name: str) -> Greeting:
    return Greeting(title="Hello", name=name, number=7)
