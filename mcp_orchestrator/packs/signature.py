"""Turning a typed Python function into something that is called with a JSON object.

``async def f(city: str, nights: int = 1, *, step: StepHandle) -> Room`` is called with
``{"city": "Oslo", "nights": 2}``: the arguments are checked by Pydantic against the annotations,
the parameter annotated with the handle gets the handle, and the result becomes JSON again.
"""

import inspect
import typing
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter, ValidationError, create_model

from mcp_orchestrator.errors import ConfigurationError, InvalidInputError

H = TypeVar("H")
JsonObject = dict[str, JsonValue]


class TypedFunction(Generic[H]):
    """An async function together with the JSON schema of its arguments.

    Args:
        name: the name it is registered under, used in errors.
        function: the function; every parameter is annotated.
        handle_type: the type of the one parameter that gets the handle, if the function has it.
        takes_more: ignore arguments that the function does not name, instead of refusing them.

    Raises:
        ConfigurationError: the function is not async or a parameter has no annotation.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Awaitable[object]],
        handle_type: type[H],
        *,
        takes_more: bool = False,
    ) -> None:
        if not inspect.iscoroutinefunction(function):
            raise ConfigurationError(f"{name} is not async.", remedy="Write it as `async def`.")
        self.name = name
        self.description = inspect.getdoc(function) or ""
        self._function = function
        self._handle_parameter: str | None = None
        self._extra: Literal["ignore", "forbid"] = "ignore" if takes_more else "forbid"
        self._arguments = self._argument_model(handle_type)
        hints = typing.get_type_hints(function)
        self._result: TypeAdapter[Any] = TypeAdapter(hints.get("return", object))

    def _argument_model(self, handle_type: type[H]) -> type[BaseModel]:
        hints = typing.get_type_hints(self._function, include_extras=True)
        fields: dict[str, Any] = {}
        for parameter in inspect.signature(self._function).parameters.values():
            annotation: object = hints.get(parameter.name, inspect.Parameter.empty)
            if annotation is inspect.Parameter.empty:
                raise ConfigurationError(
                    f"{self.name}: parameter {parameter.name!r} has no annotation.",
                    remedy="Annotate it, so that its schema can be shown to a model.",
                )
            if annotation is handle_type:
                self._handle_parameter = parameter.name
                continue
            default: object = parameter.default
            fields[parameter.name] = (
                annotation,
                ... if default is inspect.Parameter.empty else default,
            )
        config = ConfigDict(extra=self._extra)
        return create_model(f"{self.name} arguments", __config__=config, **fields)

    @property
    def schema(self) -> JsonObject:
        """Return the JSON schema of the arguments."""
        return self._arguments.model_json_schema()

    @property
    def argument_names(self) -> tuple[set[str], set[str]]:
        """Return the names of the required arguments, and of all."""
        fields = self._arguments.model_fields
        return {name for name, field in fields.items() if field.is_required()}, set(fields)

    async def __call__(self, arguments: JsonObject, handle: H) -> JsonValue:
        """Check the arguments, call the function, return its result as JSON.

        Raises:
            InvalidInputError: an argument is missing, unknown or of the wrong type.
        """
        try:
            checked = self._arguments.model_validate(arguments)
        except ValidationError as error:
            raise InvalidInputError(describe_validation(self.name, error)) from error
        keywords = {field: getattr(checked, field) for field in type(checked).model_fields}
        if self._handle_parameter is not None:
            keywords[self._handle_parameter] = handle
        result = await self._function(**keywords)
        return cast("JsonValue", self._result.dump_python(result, mode="json"))


def describe_validation(name: str, error: ValidationError) -> str:
    """Say in one line which argument is wrong and how."""
    parts = [
        f"{'.'.join(str(part) for part in item['loc']) or 'arguments'}: {item['msg']}"
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    return f"{name}: {'; '.join(parts)}."
