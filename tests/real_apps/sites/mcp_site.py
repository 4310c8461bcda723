"""A server of the Model Context Protocol: a tool that answers, one that reports its progress, and a resource."""

import asyncio

from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("numbers", log_level="WARNING")


@server.tool()
def add(a: int, b: int) -> int:
    """The sum of two numbers."""
    return a + b


@server.tool()
async def count(number: int, context: Context) -> str:
    """Counts, and tells how far it is."""
    for value in range(number):
        await asyncio.sleep(0.02)
        await context.report_progress(value + 1, number)
    return f"counted to {number}"


@server.resource("text://greeting")
def greeting() -> str:
    return "Grüße"


app = server.streamable_http_app()
