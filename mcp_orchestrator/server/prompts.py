"""Prompts: the workflows, for people to pick in their client."""

from mcp.server import MCPServer


def register(server: MCPServer[None]) -> None:
    """Add the prompts to a server."""

    @server.prompt(title="Write a program that passes its tests")
    def solve_with_tests(problem: str, tests: str = "") -> str:
        """Turn a problem into tests, start the code loop, and report what came of it."""
        given = (
            f"Use these tests as they are:\n```python\n{tests}\n```\n"
            if tests
            else "First write five to eight short pytest functions that pin down what is asked,"
            " edge cases included, importing from `solution`. Show them to me.\n"
        )
        return (
            f"Solve this problem with the mcp-orchestrator server:\n\n{problem}\n\n{given}"
            "Then call loop_start with the problem and the tests, and loop_get with wait_seconds"
            " until it has ended. Show me the program, which tests pass, how many attempts and"
            " model calls it took, and, if it was not solved, what the failing tests say."
        )
