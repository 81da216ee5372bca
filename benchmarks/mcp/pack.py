"""The trivial tool of the benchmark as a pack."""

from mcp_orchestrator.packs import Pack

pack = Pack("bench", description="Measure a call.")


@pack.tool()
async def echo(text: str) -> str:
    """Return the text."""
    return text
