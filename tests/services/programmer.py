"""A programmer behind the providers' protocols: wrong at first, right once it is told how."""

from tests.services.provider_server import Answer, Received, Responder, says

PROBLEM = "Write a function add(a, b) that returns the sum of two numbers."
TESTS = """\
from solution import add

def test_small():
    assert add(1, 2) == 3

def test_negative():
    assert add(-1, 1) == 0
"""
WRONG = "def add(a, b):\n    return a - b\n"
RIGHT = "def add(a, b):\n    return a + b\n"
#: No small change makes it right.
HOPELESS = "def add(a, b):\n    return len(str(a)) * 7\n"
ANALYSIS = "Use the plus operator; mind negative numbers."


def fenced(code: str) -> str:
    """Write a program as models do."""
    return f"Here you are:\n```python\n{code}```\n"


def programmer(first: str = WRONG, repaired: str = RIGHT) -> Responder:
    """Answer analyses with words, programs with the first one, repairs with the second."""

    def respond(received: Received) -> Answer:
        instructions = str(received.body.get("instructions", ""))  # the Agent API's system prompt
        return says(answer_to(instructions + received.prompt, first, repaired))(received)

    return respond


def answer_to(prompt: str, first: str = WRONG, repaired: str = RIGHT) -> str:
    """Return the answer to one prompt of the loop."""
    if "Do not write the program" in prompt:
        return ANALYSIS
    return fenced(repaired if "This program is wrong" in prompt else first)


def provider_settings(base_url: str, *, perplexity: bool = False) -> dict[str, str]:
    """Return the settings of a server that asks this programmer."""
    settings = {
        "DEEPSEEK_API_KEY": "test-key-deepseek",
        "DEEPSEEK_BASE_URL": base_url,
        "DEEPSEEK_MODEL": "deepseek-flash",
    }
    if perplexity:
        settings |= {"PERPLEXITY_API_KEY": "test-key-pplx", "PERPLEXITY_BASE_URL": base_url}
    return settings
