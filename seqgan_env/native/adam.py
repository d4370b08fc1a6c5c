"""Steps of Adam by the compiled kernels, in the state of `torch.optim.Adam`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import optimizer as torch_optimizer

from seqgan_env import native


class Factors(NamedTuple):
    """The gradient of a weight (R, C): `left` (R, B) times `right` (B, C)."""

    left: Tensor
    right: Tensor


_VARIANTS = (
    "weight_decay",
    "amsgrad",
    "maximize",
    "capturable",
    "differentiable",
    "decoupled_weight_decay",
)
_NUMBERS = ("lr", "eps")  # of a group, and its betas
_STEP_HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
_GLOBAL_HOOKS = ("_global_optimizer_pre_hooks", "_global_optimizer_post_hooks")


def objection(optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> str:
    """Why `adam_step` would not do what `optimizer.step` does with gradients for all `parameters`;
    "" if it would.
    """
    problem = objection_to_training(optimizer, parameters)
    if problem:
        return problem
    if not native.usable(*parameters):
        return "not all parameters are float32 on the CPU"
    return _objection_to_state(
        [optimizer.state.get(parameter, {}) for parameter in parameters], parameters
    )


def objection_to_training(optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> str:
    """Why a step of `optimizer` is not Adam's alone, with the gradients of all `parameters`, on any
    device; "" if it is.
    """
    problem = _objection_to_settings(optimizer)
    if problem:
        return problem
    if len(set(map(id, parameters))) != len(parameters) or _trained(optimizer) != set(
        map(id, parameters)
    ):
        return "the optimizer's parameters are not those of the network, each once"
    if not all(parameter.requires_grad for parameter in parameters):
        return "not all parameters are trained"
    if any(
        parameter._backward_hooks or parameter._post_accumulate_grad_hooks
        for parameter in parameters
    ):
        return "gradients are watched by hooks"
    return ""


def _trained(optimizer: torch.optim.Optimizer) -> set[int]:
    """Which parameters, by identity."""
    return {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}


def _objection_to_settings(optimizer: torch.optim.Optimizer) -> str:
    if type(optimizer) is not torch.optim.Adam:
        return f"the optimizer is a {type(optimizer).__name__}, not torch.optim.Adam"
    if _is_watched(optimizer):
        return "the optimizer's steps are watched by hooks or a scheduler"
    if len(optimizer.param_groups) != 1:
        return f"the optimizer has {len(optimizer.param_groups)} groups of parameters, not one"
    (group,) = optimizer.param_groups
    variants = [name for name in _VARIANTS if group.get(name)]
    if variants:
        return f"the optimizer has {', '.join(variants)}"
    if not all(
        isinstance(number, (int, float))
        for number in (*(group[name] for name in _NUMBERS), *group["betas"])
    ):
        return "the optimizer's settings are not plain numbers"
    return ""


def _is_watched(optimizer: torch.optim.Optimizer) -> bool:
    """Whether somebody waits for a call of `optimizer.step`."""
    hooks = [getattr(optimizer, name, None) for name in _STEP_HOOKS]
    hooks += [getattr(torch_optimizer, name, None) for name in _GLOBAL_HOOKS]
    return any(hooks) or "step" in vars(optimizer)  # schedulers put a step of their own there


def _objection_to_state(states: Sequence[dict[str, Any]], parameters: Sequence[Tensor]) -> str:
    if not any(states):
        if all(parameter.is_contiguous() for parameter in parameters):
            return ""
        return "a parameter is not contiguous"
    if not all(states):
        return "only some parameters have been trained"
    if len({float(state["step"]) for state in states}) != 1:
        return "parameters have been trained for different numbers of steps"
    for parameter, state in zip(parameters, states, strict=True):
        moments = (state["exp_avg"], state["exp_avg_sq"])
        if not native.usable(*moments) or any(
            moment.shape != parameter.shape for moment in moments
        ):
            return "moments are not float32 on the CPU, of the shape of their parameter"
        if not all(tensor.is_contiguous() for tensor in (parameter, *moments)):
            return "a parameter or a moment is not contiguous"
    return ""


def adam_step(
    optimizer: torch.optim.Adam,
    gradients: Iterable[tuple[Tensor, Tensor]],
    weight: Tensor,
    factors: Factors,
) -> None:
    """What a step of `optimizer` does if its parameters have these gradients; nobody's `.grad` is
    read.

    Args:
        optimizer: one to which there is no `objection`. Before a series of steps it is asked once;
            each step asks only about settings and hooks.
        gradients: parameters with their gradients.
        weight: the one parameter whose gradient is given in factors, and is never stored.
        factors: of it.

    Raises:
        ValueError: there is an objection to the optimizer's settings, or memory is laid out
            otherwise.
    """
    problem = _objection_to_settings(optimizer)
    if problem:
        raise ValueError(f"{problem}; the kernels' step of Adam cannot stand in for its own")
    (group,) = optimizer.param_groups
    parameters = [
        (parameter, gradient.contiguous(), _advance(optimizer, parameter))
        for parameter, gradient in gradients
    ]
    state = _advance(optimizer, weight)
    (beta1, beta2), step = group["betas"], float(state["step"])
    rates = {
        "beta1": float(beta1),
        "beta2": float(beta2),
        "rate": group["lr"] / (1 - beta1**step),
        "correction": (1 - beta2**step) ** -0.5,
        "eps": float(group["eps"]),
    }
    table = torch.tensor(
        [[*_addresses(p, s, g), p.numel()] for p, g, s in parameters], device="cpu"
    )
    sizes = native.sizes()
    num_blocks = sum(-(-p.numel() // sizes.adam_block) for p, _, _ in parameters)
    native.run("adam", num_blocks, 1, parameters=table, num_parameters=len(table), **rates)
    native.run(
        "adam_product",
        len(weight),
        sizes.rows,
        left=factors.left,
        right=factors.right,
        weight=weight.detach(),
        mean=state["exp_avg"],
        square=state["exp_avg_sq"],
        columns=weight.shape[1],
        depth=factors.left.shape[1],
        **rates,
    )


def _advance(optimizer: torch.optim.Adam, parameter: Tensor) -> dict[str, Any]:
    """The state of a parameter, which begins another step."""
    state: dict[str, Any] = optimizer.state[parameter]
    if not state:
        moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
        state.update(step=torch.tensor(0.0, dtype=torch.float32, device="cpu"), **moments)
    state["step"] += 1
    return state


def _addresses(parameter: Tensor, state: dict[str, Any], gradient: Tensor) -> list[int]:
    return [
        native.address(tensor)
        for tensor in (parameter, state["exp_avg"], state["exp_avg_sq"], gradient)
    ]
