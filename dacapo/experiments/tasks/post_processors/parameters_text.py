"""Parse parameters of post-processors from the text that ``str`` returns."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

from dacapo.errors import NotFoundError
from dacapo.experiments.tasks.post_processors.post_processor import PostProcessorParameters
from dacapo.store.converter import from_plain


def parse_parameters(text: str, known: Iterable[PostProcessorParameters]) -> PostProcessorParameters:
    """Return the parameters that a text describes, such as ``ThresholdPostProcessorParameters(id=5, threshold=131)``.

    Nothing is evaluated: values are numbers, strings, None, True, False, and lists and tuples of them.

    Args:
        text: The text.
        known: Parameters of the post-processor, which determine the possible classes.

    Raises:
        NotFoundError: If the text is neither one of the known parameters nor of this form.
        ConfigError: If a field is unknown, missing or of another type.
    """
    by_text = {str(parameters): parameters for parameters in known}
    if text in by_text:
        return by_text[text]
    kinds = {type(parameters).__name__: type(parameters) for parameters in by_text.values()}
    name, fields = _call(text) or (None, {})
    if name not in kinds:
        raise NotFoundError(
            f"unknown parameters {text!r}; expected those that were tried, {', '.join(by_text)}, or others of "
            f"{' or '.join(kinds)} in this form"
        )
    return from_plain(fields, kinds[name], text)


def _call(text: str) -> tuple[str, dict[str, Any]] | None:
    """Return the name and the arguments of a call whose arguments all have names; None for any other text."""
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            return None
        fields = {argument.arg: ast.literal_eval(argument.value) for argument in call.keywords}
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None
    is_clear = None not in fields and len(fields) == len(call.keywords)
    return (call.func.id, {str(name): value for name, value in fields.items()}) if is_clear else None
