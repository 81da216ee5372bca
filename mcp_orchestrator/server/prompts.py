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
    def explain_failure(code: str, failure: str = "", problem: str = "") -> str:
        """Find the cause of a failure, and prove both the cause and the repair by tests."""
        told = f"What happened:\n{failure}\n" if failure else "Nobody has said how it fails.\n"
        task = f"It should do this:\n{problem}\n" if problem else ""
        return f"This program fails:\n```python\n{code}\n```\n{told}{task}\n{_EXPLAIN}"

    @server.prompt(title="Design a saga")
    def design_saga(goal: str, irreversible: str = "") -> str:
        """Turn a goal into steps that can be undone, and try the failing case first."""
        final = (
            f"These effects nobody can undo: {irreversible}\n"
            if irreversible
            else "Ask me which effects nobody can undo, such as mail that is sent or money paid.\n"
        )
        return f"Design a saga for this goal:\n\n{goal}\n\n{final}\n{_DESIGN}"


_EXPLAIN = """\
Work with the mcp-orchestrator server, and show evidence instead of guessing:
1. Reproduce it. Write one pytest function that fails as described and run it with
   sandbox_run_tests. If it does not fail, say so and ask me for the input.
2. Make it small. Take away input and code until the failure would go away; keep the smallest
   failing test. The report's frames hold the local variables: read the values there first.
3. Name the cause in at most three sentences: the line, the values that show it, and the
   assumption that is wrong. Say what else the same assumption breaks.
4. Test the explanation before the repair: predict the result for one input that was not tried
   yet, run it, and say whether the prediction held. If not, go back to 2.
5. Repair it: codegen_fix for a small change; loop_start with `program` and the tests for more. The
   new tests and those that passed before all have to pass.
6. Report: the cause, the smallest failing test, the patch, and what you did not check.
"""

_DESIGN = """\
Work with the mcp-orchestrator server:
1. List the effects, one a step, in the order of their risk: what is cheap to undo first, what
   nobody can undo last. Look up the registered actions and their arguments (saga_catalog, or
   saga_start, which answers an unknown action with the list).
2. For each step write: the action, its arguments with references such as
   {"$ref": "steps.reserve.result.id"}, the compensation, and why that brings things back. What an
   action does must be harmless if it is done twice with the same idempotency key.
3. Decide for each step: its time-out; what is retried and what is refused for good; what happens
   if the process dies in the middle (a probe, a repetition, or a person). Steps that do not
   depend on each other share a `group`. Mark the step after which there is only forward as `pivot`.
4. Where a person has to agree, put a saga.approval step before the effect; where an outside
   event has to come, saga.wait_for_signal with a time-out.
5. Prove it: start it with an input that makes a late step fail, and show from saga_get with
   include_audit that everything done was undone, in reverse order. Then make a compensation fail
   and say what a person would be told.
6. Only then run it for real, with an idempotency key, and show me its id and its graph
   (the resource saga://ID/graph).
"""
