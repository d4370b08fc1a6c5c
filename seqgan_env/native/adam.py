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
    states = []
    for parameter in parameters:
        states.append(optimizer.state.get(parameter, {}))  # empty before the first step
    return _objection_to_state(states, parameters)


def objection_to_training(optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> str:
    """Why a step of `optimizer` is not Adam's alone, with the gradients of all `parameters`, on any
    device; "" if it is.
    """
    problem = _objection_to_settings(optimizer)
    if problem:
        return problem
    # By identity: equal tensors are other parameters.
    of_network = set(map(id, parameters))
    if len(of_network) != len(parameters) or _trained(optimizer) != of_network:
        return "the optimizer's parameters are not those of the network, each once"
    for parameter in parameters:
        if not parameter.requires_grad:
            return "not all parameters are trained"
    for parameter in parameters:
        if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
            return "gradients are watched by hooks"
    return ""


def _trained(optimizer: torch.optim.Optimizer) -> set[int]:
    """The identities of the parameters that an optimizer trains."""
    trained: set[int] = set()
    for group in optimizer.param_groups:
        trained.update(map(id, group["params"]))
    return trained


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
    # A tensor in place of a number would reach the kernel as its address.
    for number in (group["lr"], group["eps"], *group["betas"]):
        if not isinstance(number, (int, float)):
            return "the optimizer's settings are not plain numbers"
    return ""


def _is_watched(optimizer: torch.optim.Optimizer) -> bool:
    """Whether somebody waits for a call of `optimizer.step`."""
    for name in _STEP_HOOKS:
        if getattr(optimizer, name, None):
            return True
    for name in _GLOBAL_HOOKS:
        if getattr(torch_optimizer, name, None):
            return True
    return "step" in vars(optimizer)  # schedulers put a step of their own there


def _objection_to_state(states: Sequence[dict[str, Any]], parameters: Sequence[Tensor]) -> str:
    if not any(states):
        if all(parameter.is_contiguous() for parameter in parameters):
            return ""
        return "a parameter is not contiguous"
    if not all(states):
        return "only some parameters have been trained"
    steps = set()
    for state in states:
        steps.add(float(state["step"]))
    if len(steps) != 1:
        return "parameters have been trained for different numbers of steps"
    for parameter, state in zip(parameters, states, strict=True):
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        of_its_shape = mean.shape == square.shape == parameter.shape
        if not (of_its_shape and native.usable(mean, square)):
            return "moments are not float32 on the CPU, of the shape of their parameter"
        for tensor in (parameter, mean, square):
            if not tensor.is_contiguous():
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
    # Where each parameter, its moments and its gradient lie, and how many numbers it has.
    rows, kept, num_blocks = [], [], 0
    block = native.sizes().adam_block
    for parameter, gradient in gradients:
        dense = gradient.contiguous()
        kept.append(dense)  # the kernel reads addresses: its memory must outlive the call
        of_parameter = _advance(optimizer, parameter)
        rows.append([*_addresses(parameter, of_parameter, dense), parameter.numel()])
        num_blocks += -(-parameter.numel() // block)
    table = torch.tensor(rows, device="cpu")

    # The rates of Adam with both corrections for its first steps (Kingma & Ba 2015, algorithm 1).
    state = _advance(optimizer, weight)
    (beta1, beta2), step = group["betas"], float(state["step"])
    rates = {
        "beta1": float(beta1),
        "beta2": float(beta2),
        "rate": group["lr"] / (1 - beta1**step),
        "correction": (1 - beta2**step) ** -0.5,
        "eps": float(group["eps"]),
    }
    native.run("adam", num_blocks, 1, parameters=table, num_parameters=len(table), **rates)
    native.run(
        "adam_product",
        len(weight),
        native.sizes().rows,
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
        # As torch's own Adam begins; its step is a tensor too.
        state["step"] = torch.tensor(0.0, dtype=torch.float32, device="cpu")
        state["exp_avg"] = torch.zeros_like(parameter)
        state["exp_avg_sq"] = torch.zeros_like(parameter)
    state["step"] += 1
    return state


def _addresses(parameter: Tensor, state: dict[str, Any], gradient: Tensor) -> list[int]:
    """In the order of the kernel's table."""
    return list(map(native.address, (parameter, state["exp_avg"], state["exp_avg_sq"], gradient)))
