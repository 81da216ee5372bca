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

    @server.prompt(title="Explain why a program fails")
    def explain_failure(code: str, failure: str) -> str:
        """Find the cause of a failure, and prove the repair by tests."""
        return (
            f"This program fails:\n```python\n{code}\n```\nWhat happened:\n{failure}\n\n"
            "With the mcp-orchestrator server: reproduce it with sandbox_run_tests, reduce it to"
            " the smallest failing test, explain the cause in a few sentences with the values"
            " that show it, then repair it with codegen_fix or loop_start and show that the test"
            " now passes."
        )

    @server.prompt(title="Design a saga")
    def design_saga(goal: str) -> str:
        """Turn a goal into steps that can be undone, and try the failing case first."""
        return (
            f"Design a saga for this goal with the mcp-orchestrator server:\n\n{goal}\n\n"
            "List the registered actions (saga_start answers an unknown action with the list)."
            " Write the steps with their arguments and references, say what undoes each step and"
            " which step nobody can undo (put it last). Then run it once with an input that makes"
            " a late step fail, show from saga_get with include_audit that everything was undone,"
            " and only then run it for real, with an idempotency key."
        )
