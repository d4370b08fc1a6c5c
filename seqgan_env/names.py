"""Names that users type, the nearest valid one for a typo, and the options that things take."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from seqgan_env.checks import check_kinds, check_type, hints_of


def choose(valid: Iterable[str], name: str, what: str) -> str:
    """`name` if it is one of `valid`.

    Raises:
        ValueError: it is not; the message lists the valid names and suggests the nearest.
    """
    valid = list(valid)  # read twice, and an iterator could be read only once
    if name in valid:
        return name
    raise ValueError(f"unknown {what} {name!r}; {allowed(valid, name)}")


def allowed(valid: Iterable[str], name: str) -> str:
    """The end of a sentence about a wrong `name`: what is allowed, and the nearest of it."""
    valid = list(valid)
    return f"allowed are {', '.join(valid)}.{nearest(valid, name)}"


def nearest(valid: Iterable[str], name: str) -> str:
    """A question that suggests the nearest of `valid`, with a space before it; "" if none is
    near.
    """
    close = difflib.get_close_matches(str(name), list(valid), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def option_names(make: Callable[..., Any], given: Collection[str] = ()) -> list[str] | None:
    """The options with which something is made; None where it takes any.

    An argument whose default is a dataclass, such as `config=ReinforceConfig()`, stands for the
    fields of that dataclass.

    Args:
        make: class or function.
        given: arguments that it gets in any case, which are no options.
    """
    names: list[str] = []
    for parameter in inspect.signature(make).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            return None  # **kwargs takes any option
        if _is_config(parameter):
            names += _field_names(parameter.default)
        elif parameter.name not in ("self", *given):
            names.append(parameter.name)
    return names


def arguments_of(make: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of `make` that mean `options`.

    Options that are fields of a config go into it, the others stay as they are:
    `{"baseline": "none"}` becomes `{"config": ReinforceConfig(baseline="none")}`.

    Raises:
        ValueError: an option of a config is not of the kind of its field.
    """
    arguments = dict(options)
    for parameter in inspect.signature(make).parameters.values():
        if not _is_config(parameter):
            continue
        # Move the options of this config out of the plain arguments.
        of_config = {}
        for name in _field_names(parameter.default):
            if name in arguments:
                of_config[name] = arguments.pop(name)
        # Without options the argument keeps its default.
        if of_config:
            check_kinds(type(parameter.default), of_config)
            arguments[parameter.name] = replace(parameter.default, **of_config)
    return arguments


def _field_names(config: Any) -> list[str]:
    """The names of a dataclass object's fields, in the order of their definition."""
    return [each.name for each in fields(config)]


def _is_config(parameter: inspect.Parameter) -> bool:
    """Whether the default of an argument is a dataclass object, rather than the class of one."""
    return is_dataclass(parameter.default) and not isinstance(parameter.default, type)


def check_options(
    make: Callable[..., Any],
    options: Mapping[str, Any],
    what: str,
    given: Collection[str] = (),
) -> None:
    """Raises a ValueError for an option that `make` does not take, with the nearest that it does,
    and for a value that certainly cannot be: by the annotation, by what a config says of its
    fields, and by a classmethod `check_options(options)` of `make`, if it has one.

    Nothing is made but configs, so that options can be checked long before they are needed.

    Args:
        make: class or function.
        options: by name.
        what: of which they are options, as in "agent reinforce".
        given: as of `option_names`.
    """
    valid = option_names(make, given)
    hints = _hints_of_options(make)
    for option, value in options.items():
        if valid is not None:
            choose(valid, option, f"option of {what}")
        check_type(f"option {option} of {what}", value, hints.get(option, Any))
    # Configs check their values when they are made; then `make` itself has its say.
    try:
        arguments_of(make, options)
        of_its_own = getattr(make, "check_options", None)
        if of_its_own is not None:
            of_its_own(options)
    except ValueError as problem:
        raise ValueError(f"{what}: {problem}") from problem


def _hints_of_options(make: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of options, by name, as far as they are known."""
    written = hints_of(make.__init__ if inspect.isclass(make) else make)
    found: dict[str, Any] = {}
    for parameter in inspect.signature(make).parameters.values():
        if _is_config(parameter):
            found |= hints_of(type(parameter.default))
        elif parameter.name in written:
            found[parameter.name] = written[parameter.name]
        elif not isinstance(parameter.annotation, str):
            # A text here is an annotation that could not be resolved: nothing is known of it.
            found[parameter.name] = parameter.annotation
    known = {}
    for name, hint in found.items():
        if hint is not inspect.Parameter.empty:  # the argument has no annotation
            known[name] = hint
    return known
