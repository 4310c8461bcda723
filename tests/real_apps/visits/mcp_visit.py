"""The client of the Model Context Protocol, over streamable HTTP: with a session, and by the protocol without one."""

import asyncio
from pathlib import Path

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from real_apps.visit import CONCURRENCY, SHARED_MEMORY, Site, expect, step, step_that_needs
from support.waiting import PATIENCE_S


def prepare(directory: Path) -> None:
    pass


@step_that_needs(
    SHARED_MEMORY,
    CONCURRENCY,
    reason="a session is kept in its process's memory, and a stream of its own is open beside its requests",
)
def with_a_session(site: Site) -> None:
    asyncio.run(_visit(site, "legacy", stream="GET"))


@step
def without_a_session(site: Site) -> None:
    asyncio.run(_visit(site, "auto"))


async def _visit(site: Site, mode: str, stream: str = "POST") -> None:
    """Use the server, until there is an answer to a request of the method `stream`, too."""
    answers: list[httpx2.Response] = []
    streaming = asyncio.Event()

    async def keep(response: httpx2.Response) -> None:
        answers.append(response)
        if response.request.method == stream:
            streaming.set()

    async with asyncio.timeout(PATIENCE_S):
        http = httpx2.AsyncClient(event_hooks={"response": [keep]}, timeout=PATIENCE_S, trust_env=False)
        async with http, Client(streamable_http_client(f"{site.url}/mcp", http_client=http), mode=mode) as client:
            await _use(client)
            await streaming.wait()
    # Which answers come first is chance when a session's own stream runs beside its calls.
    for response in sorted(answers, key=lambda each: (each.request.method, each.status_code)):
        site.observe(response.request.method, response.status_code, response.headers.multi_items(), b"")


async def _use(client: Client) -> None:
    tools = await client.list_tools()
    expect([tool.name for tool in tools.tools], ["add", "count"], "the tools")
    result = await client.call_tool("add", {"a": 3, "b": 4})
    expect(result.content[0].text, "7", "the sum")
    heard: list[float] = []

    async def progress(value: float, total: float | None, message: str | None) -> None:
        heard.append(value)

    result = await client.call_tool("count", {"number": 5}, progress_callback=progress)
    expect(result.content[0].text, "counted to 5", "the tool's answer")
    expect(heard, [1, 2, 3, 4, 5], "the progress")
    resource = await client.read_resource("text://greeting")
    expect(resource.contents[0].text, "Grüße", "the resource")
