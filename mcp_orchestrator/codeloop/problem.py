"""What a loop is asked for, and what it may spend (pure)."""

from decimal import Decimal
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

#: The largest problem text, test file or program that is taken, in characters.
LARGEST_TEXT = 100_000
_IDENTIFIER = r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"

Choice = Literal["configured", "sampling"]


class Budget(BaseModel):
    """Limits of one loop; the first that is reached ends it, the best program so far is kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_calls: int = Field(default=12, ge=1, le=200, description="Model calls in all.")
    tokens: int = Field(default=200_000, ge=1, description="Tokens in all, in and out.")
    reply_tokens: int = Field(default=4096, ge=16, description="The longest single reply.")
    money: dict[str, Decimal] = Field(
        default_factory=dict[str, Decimal],
        description='By currency, such as {"USD": 0.5}, where the provider tells what it cost.',
    )
    seconds: float = Field(
        default=900, gt=0, description="Seconds spent in model calls and test runs, summed."
    )


class Problem(BaseModel):
    """A program to be written, and how to know that it is right."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    problem: str = Field(
        min_length=1, max_length=LARGEST_TEXT, description="What the program must do, in words."
    )
    tests: str | None = Field(
        default=None,
        max_length=LARGEST_TEXT,
        description="Python tests: `assert` lines, pytest functions or unittest classes. They"
        " decide. Without them tests are generated and labelled as such.",
    )
    program: str | None = Field(
        default=None,
        max_length=LARGEST_TEXT,
        description="The present program, to be repaired until the tests pass; the result is a"
        " patch. Needs tests.",
    )
    module_name: str = Field(
        default="solution", pattern=_IDENTIFIER, description="What the tests import it as."
    )
    files: dict[str, str] = Field(
        default_factory=dict[str, str],
        max_length=200,
        description="Other files that the program or the tests need, by relative path.",
    )
    signature: str | None = Field(
        default=None, max_length=1000, description="The signature to implement, if it is fixed."
    )
    allowed_imports: list[str] | None = Field(
        default=None, description="Modules the program may import; any, if left out."
    )
    language_level: str | None = Field(
        default=None,
        pattern=r"^3\.[0-9]{1,2}$",
        description="The oldest Python whose syntax it may use, such as 3.9.",
    )
    analyse: bool = Field(
        default=True, description="Whether the reasoning model is asked first; costs one call."
    )
    show_tests: bool = Field(
        default=True, description="Whether the models see the tests, besides how a program fails."
    )
    candidates: int = Field(default=4, ge=1, le=16, description="First attempts, side by side.")
    repairs: int = Field(
        default=2, ge=0, le=5, description="Repairs of one line of attack before a fresh start."
    )
    fresh_starts: int = Field(default=2, ge=0, le=100, description="New approaches after that.")
    small_changes: int = Field(
        default=60,
        ge=0,
        le=1000,
        description="Programs one small change from a failed one that are tested, once no model"
        " goes on and where the tests are the user's.",
    )
    budget: Budget = Budget()
    provider: Choice = Field(
        default="configured",
        description="Whose models are asked: the configured providers', or the client's own.",
    )

    @model_validator(mode="after")
    def _tests_decide_about_a_program(self) -> Self:
        if self.program is not None and not self.tests:
            raise ValueError("a program to repair needs tests that fail now")
        return self
