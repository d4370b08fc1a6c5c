"""Checkers for what others bring: an agent, a policy, a score source, a discriminator, a knob, and
(Gymnasium has one for single environments only) a vector environment.

Each raises an AssertionError whose one sentence says what was found and what is expected.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import logger, spaces
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, iterate
from torch import Tensor

from seqgan_env import registry
from seqgan_env.building import undisturbed
from seqgan_env.discriminators.base import Discriminator, in_mode
from seqgan_env.discriminators.loading import make_by
from seqgan_env.discriminators.trainer import DiscriminatorTrainer
from seqgan_env.generators.knobs import Knob, LikelihoodPolicy
from seqgan_env.generators.language_model import LanguageModel, LSTMLanguageModel
from seqgan_env.plugins import traits_of
from seqgan_env.rewards.sources import make_source
from seqgan_env.rewards.values import checked
from seqgan_env.streams import RowStreams
from seqgan_env.types import PrefixValue, SequenceScorer, Task, TokenSpec, ToldOfPolicy

_METHODS = ("pretrain", "update")
_ENDINGS = 5  # steps on which an episode ended, after which autoreset has been seen enough


def check_agent(agent: object, spec: TokenSpec | None = None) -> None:
    """Verifies a plug-in `GeneratorAgent`, as Gymnasium's `check_env` verifies an environment.

    The agent is trained a little: check a fresh one.

    Args:
        agent: an agent, or a class, of which one is made in a small environment as `seqgan train`
            would: `Class(env, seed=0)`.
        spec: of its sequences; by default that of `agent.env` or of `agent.policy`.

    Raises:
        AssertionError: a method is missing or misbehaves; the sentence says which, how, and what is
            expected.
    """
    if inspect.isclass(agent):
        _check_methods(agent, f"the class {agent.__name__}")
        _call(agent.__name__, traits_of, agent)
        agent = _call(agent.__name__, agent, _small_env(), seed=0)
    _check_methods(agent, type(agent).__name__)
    policy = getattr(agent, "policy", None)
    assert policy is not None, (
        f"{type(agent).__name__} has no policy; an agent needs policy, {', '.join(_METHODS)}"
    )
    spec = spec or _spec_of(agent)
    check_policy(policy, spec)
    sequences = _random_sequences(spec, 64, torch.Generator().manual_seed(0)).to(_device(policy))
    given = sequences.clone()
    _check_metrics("pretrain", _call("pretrain", agent.pretrain, sequences, 1))  # type: ignore[attr-defined]
    assert torch.equal(sequences, given), (
        "pretrain changed the caller's sequences; it must leave them as they are"
    )
    _check_metrics("update", _call("update", agent.update))  # type: ignore[attr-defined]
    same = agent.policy is policy  # type: ignore[attr-defined]
    assert same, (
        "agent.policy is another object after training; it is bound by handle once and must be "
        "trained in place"
    )
    check_policy(policy, spec)


def check_policy(policy: object, spec: TokenSpec | None = None) -> None:
    """Verifies a `RolloutPolicy`, and its `log_prob` if it has one.

    Of a `LanguageModel` also that a hidden state depends on what was read so far alone, and that
    `start` and `advance` give the same as `hidden_states`.

    Args:
        policy: anything with `complete(tokens, lengths, rng)`; or a class, of which one is made as
            `seqgan train --policy` would: `Class(spec)`.
        spec: of its sequences; by default its own, or a small one.

    Raises:
        AssertionError: as `check_agent`.
    """
    if inspect.isclass(policy):
        spec = spec or TokenSpec(6, 5)
        with undisturbed():
            policy = _call(policy.__name__, policy, spec)
    name = type(policy).__name__
    spec = spec or getattr(policy, "spec", None)
    assert isinstance(spec, TokenSpec), f"{name} has no spec; give check_policy one"
    if isinstance(policy, LanguageModel):
        _check_states(policy)
    complete = getattr(policy, "complete", None)
    assert callable(complete), f"the policy, a {name}, has no complete(tokens, lengths, rng)"
    tokens, lengths = (
        part.to(_device(policy)) for part in _prefixes(spec, torch.Generator().manual_seed(1))
    )
    for rows in (slice(None), slice(0, 1)):
        _check_completions(complete, tokens[rows], lengths[rows], spec)
    _check_randomness(complete, spec, _device(policy))
    log_prob = getattr(policy, "log_prob", None)
    if log_prob is not None:
        _check_log_prob(
            log_prob,
            _random_sequences(spec, 8, torch.Generator().manual_seed(2)).to(_device(policy)),
        )


@torch.no_grad()
def _check_states(model: LanguageModel) -> None:
    """Hidden states look at nothing that comes later, and are the same token by token."""
    rng, name, spec = torch.Generator().manual_seed(3), type(model).__name__, model.spec
    tokens, others = (_random_sequences(spec, 8, rng).to(model.device) for _ in range(2))
    inputs, half = model.inputs(tokens), spec.seq_len // 2
    later = torch.cat([inputs[:, :half], model.inputs(others)[:, half:]], dim=1)
    hidden = _call(f"{name}.hidden_states", model.hidden_states, inputs)
    expected = (8, spec.seq_len, model.output.in_features)
    assert tuple(hidden.shape) == expected, (
        f"{name}.hidden_states returned shape {tuple(hidden.shape)} for inputs "
        f"{tuple(inputs.shape)}; expected {expected}"
    )
    causal = torch.allclose(model.hidden_states(later)[:, :half], hidden[:, :half], atol=1e-4)
    assert causal, (
        f"{name}.hidden_states looks ahead: other inputs from position {half} on changed states "
        "before it; mask what comes later"
    )
    state = _call(f"{name}.start", model.start, len(tokens))
    for t in range(spec.seq_len):
        here, state = _call(f"{name}.advance", model.advance, state, inputs[:, t])
        same = torch.allclose(here, hidden[:, t], atol=1e-4)
        assert same, (
            f"{name}.advance gives another state than hidden_states at position {t}; both must "
            "encode the inputs up to there"
        )


def check_scorer(scorer: object, spec: TokenSpec | None = None) -> None:
    """Verifies a score source: a `SequenceScorer`, or the value of a prefix.

    Args:
        scorer: an object; or a class, of which one is made on a small oracle task as `seqgan train
            --source` would.
        spec: of its sequences; by default that of a small oracle task.

    Raises:
        AssertionError: a part of the protocol is missing or misbehaves; the sentence says which,
            how, and what is expected.
    """
    rewards = _small_env().unwrapped.rewards  # type: ignore[attr-defined]
    source = _call("the source", make_source, scorer, rewards.task, rewards.policy)
    if isinstance(source, ToldOfPolicy):
        _call(f"{type(source).__name__}.bind", source.bind, rewards.policy)
    spec = spec or rewards.spec
    rng = torch.Generator().manual_seed(0)
    if isinstance(source, SequenceScorer):
        tokens = _random_sequences(spec, 24, rng)
        _check_source(f"{type(source).__name__}.score", source, source.score, (tokens,))
        return
    tokens, lengths = _prefixes(spec, rng)

    def value(tokens: Tensor, lengths: Tensor, keys: Tensor) -> Tensor:
        found: Tensor = source(tokens, lengths, RowStreams(keys))
        return found

    keys = torch.arange(len(tokens))
    _check_source(type(source).__name__, source, value, (tokens, lengths, keys))


def _check_source(
    what: str,
    source: SequenceScorer | PrefixValue,
    score: Callable[..., Tensor],
    arrays: tuple[Tensor, ...],
) -> None:
    """What a source says of rows `arrays`, (B, ...) each, is a number a row, and the row's own."""
    tokens = arrays[0]
    given, state = [each.clone() for each in arrays], torch.get_rng_state()
    result = _call(what, score, *arrays)
    _call(what, checked, source, result, tokens)
    assert all(map(torch.equal, arrays, given)), (
        f"{what} changed the caller's arrays; it must work on copies"
    )
    assert torch.equal(torch.get_rng_state(), state), (
        f"{what} draws from torch's global generator; a score may not be random, and the value of "
        "a prefix draws from rng"
    )
    assert torch.equal(score(*arrays), result), (
        f"{what} gave other numbers for the same sequences; it must depend on nothing else"
    )
    order = torch.arange(len(tokens) - 1, -1, -1)
    moved = score(*(each[order] for each in arrays))
    assert torch.allclose(moved, result[order], rtol=1e-4, atol=1e-5), (
        f"{what} depends on the order of the batch; a row's number may depend on that row alone"
    )
    alone = score(*(each[:1] for each in arrays))
    assert torch.allclose(alone, result[:1], rtol=1e-4, atol=1e-5), (
        f"{what} depends on the rest of the batch; a row's number may depend on that row alone"
    )


def check_knob(knob: object, policy: LanguageModel | None = None) -> None:
    """Verifies a `Knob`: that what it makes of a policy writes what it says is likely.

    Args:
        knob: an object; or a class without arguments, of which one is made.
        policy: that is turned; by default a small language model. Every sequence of its spec is
            looked at: there may be some thousands.

    Raises:
        AssertionError: a part of the protocol is missing or misbehaves; the sentence says which,
            how, and what is expected.
    """
    if inspect.isclass(knob):
        knob = _call(knob.__name__, knob)
    name = type(knob).__name__
    assert isinstance(knob, Knob), f"{name} is no knob; a knob needs {registry.KNOBS.hint}"
    named = isinstance(knob.name, str) and knob.name != ""
    assert named, f"{name}.name is {knob.name!r}; expected text, as it stands in tables"
    same = _call(f"hash of {name}", hash, deepcopy(knob)) == hash(knob) and deepcopy(knob) == knob
    assert same, f"{name} is not equal to its copy; compare by value, as a frozen dataclass does"
    assert _call(f"{name}.fits", knob.fits, object()) in (True, False), (
        f"{name}.fits must answer True or False of any object"
    )
    policy = policy or _random_model(TokenSpec(4, 4, eos_token=0, min_length=1))
    assert knob.fits(policy) is True, f"{name} does not fit {type(policy).__name__}; give one"
    before = {key: value.clone() for key, value in policy.state_dict().items()}
    turned = _call(name, knob, policy)
    assert callable(getattr(turned, "complete", None)), f"{name} makes no policy: no complete"
    assert callable(getattr(turned, "log_prob", None)), (
        f"{name} makes a policy without log_prob(tokens); its divergences could not be measured"
    )
    tokens, lengths = _prefixes(policy.spec, torch.Generator().manual_seed(1))
    _check_completions(turned.complete, tokens, lengths, policy.spec)
    _check_distribution(name, turned, policy.spec)
    kept = all(torch.equal(before[key], value) for key, value in policy.state_dict().items())
    assert kept, f"{name} changed the policy that it was given; turn a copy"


_NUM_DRAWS = 20_000
_NORMALISED = 0.03  # how far the sum of all probabilities may be from 1; some are estimates


def _check_distribution(name: str, policy: LikelihoodPolicy, spec: TokenSpec) -> None:
    """The probabilities of all sequences sum to 1, and are the shares of what is written."""
    everything = _all_sequences(spec)
    log_probs = _call(f"{name}: log_prob", policy.log_prob, everything)
    assert tuple(log_probs.shape) == (len(everything),), (
        f"{name}: log_prob returned shape {tuple(log_probs.shape)} for {len(everything)} "
        f"sequences; expected ({len(everything)},)"
    )
    probs = log_probs.double().exp()
    total = float(probs.sum())
    assert abs(total - 1) < _NORMALISED, (
        f"{name}: the probabilities of all sequences sum to {total:.4g}; log_prob must be "
        "normalised, or every divergence of it is wrong"
    )
    empty = torch.full((_NUM_DRAWS, spec.seq_len), spec.pad_token)
    rng = torch.Generator().manual_seed(2)
    samples = policy.complete(empty, empty.new_zeros(_NUM_DRAWS), rng)
    for row in probs.topk(min(8, len(probs))).indices.tolist():
        expected = float(probs[row] / total)
        share = float((samples == everything[row]).all(1).double().mean())
        error = 5 * math.sqrt(expected * (1 - expected) / _NUM_DRAWS) + _NORMALISED * expected
        assert abs(share - expected) <= error, (
            f"{name}: {everything[row].tolist()} is a share {share:.4f} of what is written; "
            f"log_prob says {expected:.4f}"
        )


def _all_sequences(spec: TokenSpec) -> Tensor:
    """Every finished sequence (M, T) of a small spec."""
    axes = [torch.arange(spec.vocab_size)] * spec.seq_len
    tokens = torch.cartesian_prod(*axes).view(-1, spec.seq_len)
    if spec.eos_token is None:
        return tokens
    ends = (tokens == spec.eos_token).cumsum(1) - (tokens == spec.eos_token).long()
    early = (tokens[:, : spec.min_length] == spec.eos_token).any(1)
    finished: Tensor = tokens[~early].masked_fill(ends[~early] > 0, spec.pad_token)
    different: Tensor = torch.unique(finished, dim=0)
    return different


def _random_model(spec: TokenSpec) -> LanguageModel:
    """A small language model whose probabilities differ."""
    rng = torch.Generator().manual_seed(0)
    model = LSTMLanguageModel.initialised(spec, rng, 4, 4)
    with torch.no_grad():
        model.output.weight.mul_(20)
        model.output.bias.copy_(torch.randn(spec.vocab_size, generator=rng))
    return model


def check_discriminator(discriminator: object, spec: TokenSpec | None = None) -> None:
    """Verifies a plug-in `Discriminator`.

    It is trained a little, and told of a small policy: check a fresh one.

    Args:
        discriminator: an object; or a class or function, of which one is made as `seqgan train`
            would: `Class(spec, rng)`.
        spec: of its sequences; by default its own, or a small one.

    Raises:
        AssertionError: a part of the protocol is missing or misbehaves; the sentence says which,
            how, and what is expected.
    """
    if not isinstance(discriminator, torch.nn.Module):
        spec = spec or TokenSpec(6, 5)
        discriminator = _made_discriminator(discriminator, spec)
    name = type(discriminator).__name__
    assert isinstance(discriminator, Discriminator), (
        f"{name} is no seqgan_env.Discriminator; derive it from that and give it a forward(tokens, "
        "dropout_rng=None)"
    )
    spec = spec or discriminator.spec
    policy = LSTMLanguageModel.initialised(spec, torch.Generator().manual_seed(0), 4, 4)
    policy = policy.to(discriminator.device)
    _call("bind", discriminator.bind, policy)
    own = {id(parameter) for parameter in discriminator.parameters()}
    assert not own & {id(parameter) for parameter in policy.parameters()}, (
        f"{name} has the policy's parameters among its own and would train them; hold the policy "
        "in something that is no torch.nn.Module"
    )
    rng = torch.Generator().manual_seed(1)
    real, generated = (_random_sequences(spec, 48, rng).to(discriminator.device) for _ in range(2))
    learned = _call(
        "pretrain", discriminator.pretrain, real, generated, _generator(discriminator, 2)
    )
    _check_metrics("pretrain", learned)
    _check_logits(discriminator, real)
    _check_scores(discriminator, real)
    _check_dropout(discriminator, real)
    _check_state(discriminator, real)
    if discriminator.learns_from_negatives:
        _check_training(discriminator, real, generated)


def _made_discriminator(make: object, spec: TokenSpec) -> object:
    """A discriminator by its class; made twice, for it must depend on nothing but `rng`."""
    name = getattr(make, "__name__", type(make).__name__)
    assert callable(make), (
        f"{name} is neither a discriminator nor a class of them; expected a subclass of "
        "seqgan_env.Discriminator"
    )
    made = []
    for _ in range(2):
        rng = torch.Generator().manual_seed(0)
        made.append(_call(name, make_by, make, spec, rng))
    states = [model.state_dict() if isinstance(model, torch.nn.Module) else {} for model in made]
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key]), (
            f"{name} begins with other parameters ({key}) for the same rng; draw them from rng, or "
            "from torch's generator, which follows rng while it is made"
        )
    return made[0]


def _generator(discriminator: Discriminator, seed: int) -> torch.Generator:
    return torch.Generator(device=discriminator.device).manual_seed(seed)


def _check_logits(discriminator: Discriminator, tokens: Tensor) -> None:
    given = tokens.clone()
    modes = [part.training for part in discriminator.modules()]
    result = _call("logits", discriminator.logits, tokens)
    _check_numbers("logits", result, len(tokens))
    assert torch.equal(tokens, given), "logits changed the caller's sequences; work on a copy"
    assert not result.requires_grad, "logits returned a graph; expected no gradient"
    assert modes == [part.training for part in discriminator.modules()], (
        "logits left the discriminator in another mode (train, eval); it must put it back"
    )
    again = torch.equal(discriminator.logits(tokens), result)
    assert again, "logits gave other numbers the second time; without dropout_rng nothing is random"
    alone = torch.cat([discriminator.logits(row.unsqueeze(0)) for row in tokens])
    assert torch.allclose(alone, result, rtol=1e-4, atol=1e-4), (
        "the logit of a sequence depends on the others in its batch, by up to "
        f"{float((alone - result).abs().max()):.3g}; it must be a function of the sequence"
    )


def _check_scores(discriminator: Discriminator, tokens: Tensor) -> None:
    before = discriminator.score_as
    logits = discriminator.logits(tokens)
    for kind, expected in (("logit", logits), ("probability", torch.sigmoid(logits))):
        discriminator.score_as = kind
        scores = _call("score", discriminator.score, tokens)
        _check_numbers("score", scores, len(tokens))
        assert torch.allclose(scores, expected, atol=1e-4), (
            f"score is not the {kind} where score_as is {kind!r}; leave score as it is, and "
            "override forward"
        )
    discriminator.score_as = before


def _check_dropout(discriminator: Discriminator, tokens: Tensor) -> None:
    """What is random in training comes from `dropout_rng`."""

    def forward(global_seed: int) -> Tensor:
        with undisturbed(), in_mode(discriminator, training=True):
            torch.manual_seed(global_seed)
            result = _call("forward", discriminator, tokens, _generator(discriminator, 3))
        _check_numbers("forward", result, len(tokens))
        numbers: Tensor = result.detach()
        return numbers

    assert torch.equal(forward(0), forward(1)), (
        "forward draws from torch's global generator (as torch.nn.Dropout does); draw from "
        "dropout_rng"
    )


def _check_state(discriminator: Discriminator, tokens: Tensor) -> None:
    """What is scored follows the parameters, whoever wrote them, and is all in them."""
    copy = _call("copy.deepcopy", deepcopy, discriminator)
    rng = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in copy.parameters():
            noise = torch.randn(parameter.shape, generator=rng, dtype=torch.float32)
            parameter.add_(noise.to(parameter.device, parameter.dtype))
    before = discriminator.logits(tokens)
    followed = not torch.equal(copy.logits(tokens), before)
    assert followed, "logits stay as they were when parameters change; caches must follow them"
    copy.load_state_dict(deepcopy(discriminator.state_dict()))
    same = torch.allclose(copy.logits(tokens), before)
    assert same, (
        "a copy with the same state_dict scores otherwise; what forward reads must be parameters "
        "or buffers"
    )


def _check_training(discriminator: Discriminator, real: Tensor, generated: Tensor) -> None:
    copies = [deepcopy(discriminator), discriminator]
    before = [parameter.detach().clone() for parameter in discriminator.parameters()]
    losses = []
    for model in copies:
        trainer = DiscriminatorTrainer(model)
        rng = _generator(discriminator, 4)
        losses.append(_call("a d-step", trainer.fit, real, generated, 2, rng)["loss"])
    assert math.isfinite(losses[0]), f"a d-step lost {losses[0]} nats; expected a finite loss"
    assert losses[0] == losses[1], (
        "d-steps from the same parameters and rng lost different numbers of nats; draw from "
        "dropout_rng and from nothing else"
    )
    moved = any(
        not torch.equal(old, new)
        for old, new in zip(before, discriminator.parameters(), strict=True)
    )
    assert moved, "a d-step moved no parameter; if that is meant, say learns_from_negatives = False"


def _check_numbers(what: str, result: object, num: int) -> None:
    assert isinstance(result, Tensor), (
        f"{what} returned a {type(result).__name__}; expected a torch.Tensor"
    )
    assert tuple(result.shape) == (num,), (
        f"{what} returned shape {tuple(result.shape)} for {num} sequences; expected ({num},)"
    )
    assert result.is_floating_point(), (
        f"{what} returned dtype {result.dtype}; expected floating point"
    )
    assert bool(torch.isfinite(result).all()), f"{what} returned numbers that are not finite"


def _check_methods(agent: object, name: str) -> None:
    missing = [f"{method}()" for method in _METHODS if not callable(getattr(agent, method, None))]
    assert not missing, (
        f"{name} has no {' and no '.join(missing)}; an agent needs policy, {', '.join(_METHODS)}"
    )


def _small_env() -> VectorEnv:
    return gym.make_vec(
        "SeqGAN/Oracle-v0",
        num_envs=8,
        online=False,
        vocab_size=6,
        seq_len=5,
        num_real=100,
        num_held_out=100,
        num_rollouts=2,
    )


def _spec_of(agent: object) -> TokenSpec:
    env = getattr(agent, "env", None)
    task = getattr(getattr(env, "unwrapped", env), "task", None)
    for owner in (task, getattr(agent, "policy", None)):
        spec = getattr(owner, "spec", None)
        if isinstance(spec, TokenSpec):
            return spec
    raise AssertionError(
        f"{type(agent).__name__} has neither env nor policy.spec to tell its sequences; give "
        "check_agent a spec"
    )


def _device(policy: object) -> torch.device:
    return torch.device(getattr(policy, "device", "cpu"))


def _call(what: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    except Exception as problem:
        raise AssertionError(f"{what} raised {type(problem).__name__}: {problem}") from problem


def _random_sequences(spec: TokenSpec, num: int, rng: torch.Generator) -> Tensor:
    """Finished sequences (num, T) of uniform tokens."""
    tokens = torch.randint(spec.vocab_size, (num, spec.seq_len), generator=rng)
    if spec.eos_token is None:
        return tokens
    early = tokens[:, : spec.min_length]
    early[early == spec.eos_token] = (spec.eos_token + 1) % spec.vocab_size
    ends = (tokens == spec.eos_token).cumsum(1) - (tokens == spec.eos_token).long()
    return tokens.masked_fill(ends > 0, spec.pad_token)


def _prefixes(spec: TokenSpec, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Prefixes (B, T) and lengths (B,): empty ones, ragged ones and finished ones."""
    tokens = _random_sequences(spec, 48, rng)
    lengths = (torch.rand(48, generator=rng) * spec.lengths(tokens)).long()
    lengths[:16] = 0
    lengths[32:] = spec.lengths(tokens)[32:]
    return tokens.masked_fill(
        torch.arange(spec.seq_len) >= lengths.unsqueeze(1), spec.pad_token
    ), lengths


def _check_completions(
    complete: Callable[..., Any], tokens: Tensor, lengths: Tensor, spec: TokenSpec
) -> None:
    what = "policy.complete"
    given = tokens.clone(), lengths.clone()
    result = _call(
        what, complete, tokens, lengths, torch.Generator(device=tokens.device).manual_seed(0)
    )
    unchanged = torch.equal(tokens, given[0]) and torch.equal(lengths, given[1])
    assert unchanged, f"{what} changed the caller's arrays; it must work on a copy (tokens.clone())"
    assert isinstance(result, Tensor), (
        f"{what} returned a {type(result).__name__}; expected a torch.Tensor"
    )
    shape, expected = tuple(result.shape), tuple(tokens.shape)
    assert shape == expected, (
        f"{what} returned shape {shape} for {len(tokens)} prefixes; expected {expected}"
    )
    assert result.dtype == torch.int64, (
        f"{what} returned dtype {result.dtype}; expected torch.int64"
    )
    assert result.device == tokens.device, (
        f"{what} returned a tensor on {result.device}; expected {tokens.device}"
    )
    outside = (result < 0) | (result > spec.pad_token)
    assert not outside.any(), (
        f"{what} wrote token {int(result[outside][0])}, out of range; allowed are "
        f"0..{spec.vocab_size - 1}, and {spec.pad_token} behind the end of a sequence"
    )
    _check_prefixes_kept(result, tokens, lengths, spec)
    _check_finished(result, spec)


def _check_prefixes_kept(result: Tensor, tokens: Tensor, lengths: Tensor, spec: TokenSpec) -> None:
    finished = spec.is_complete(tokens, lengths)
    same = (result == tokens)[finished].all()
    assert same, (
        "policy.complete changed a finished prefix; it must come back as it was given, padding "
        "included"
    )
    written = torch.arange(spec.seq_len, device=tokens.device) < lengths.unsqueeze(1)
    kept = ((result == tokens) | ~written).all(1)
    row = int((~kept).int().argmax())
    assert kept.all(), (
        f"policy.complete ignores the given prefix: {tokens[row, : lengths[row]].tolist()} became "
        f"{result[row, : lengths[row]].tolist()}; a completion begins with its prefix"
    )


def _check_finished(result: Tensor, spec: TokenSpec) -> None:
    try:
        spec.check_sequences(result, "what policy.complete returned")
    except ValueError as problem:
        raise AssertionError(str(problem)) from problem
    early = spec.eos_token is not None and bool(
        (result[:, : spec.min_length] == spec.eos_token).any()
    )
    assert not early, (
        f"policy.complete ended a sequence before {spec.min_length} tokens (min_length), where the "
        "end is masked"
    )


def _check_randomness(complete: Callable[..., Any], spec: TokenSpec, device: torch.device) -> None:
    empty = torch.full((64, spec.seq_len), spec.pad_token, device=device)

    def sample(rng: torch.Generator) -> Tensor:
        result: Tensor = complete(empty, empty.new_zeros(64), rng)
        return result

    def plain(seed: int) -> torch.Generator:
        return torch.Generator(device=device).manual_seed(seed)

    def rows(seed: int) -> RowStreams:
        return RowStreams(torch.arange(64, device=device) + 64 * seed)

    for streams in (plain, rows):
        again = torch.equal(sample(streams(0)), sample(streams(0)))
        assert again, (
            "policy.complete ignores rng: the same seed gave other completions; draw from rng and "
            "from nothing else"
        )
        other = torch.equal(sample(streams(0)), sample(streams(1)))
        assert not other, (
            "policy.complete ignores rng: different seeds gave the same completions; draw tokens "
            "from rng"
        )


def _check_log_prob(log_prob: Callable[..., Any], tokens: Tensor) -> None:
    given = tokens.clone()
    result = _call("policy.log_prob", log_prob, tokens)
    assert torch.equal(tokens, given), (
        "policy.log_prob changed the caller's arrays; it must leave them as they are"
    )
    assert isinstance(result, Tensor), (
        f"policy.log_prob returned a {type(result).__name__}; expected a torch.Tensor"
    )
    shape, expected = tuple(result.shape), (len(tokens),)
    assert shape == expected, (
        f"policy.log_prob returned shape {shape} for {len(tokens)} sequences; expected {expected}"
    )
    assert result.is_floating_point(), (
        f"policy.log_prob returned dtype {result.dtype}; expected floating point, in nats"
    )
    proper = bool((result <= 1e-4).all())  # not true of a number that is none
    assert proper, f"policy.log_prob returned {result.max():.4g}; a log-probability is at most 0"


def _check_metrics(what: str, metrics: object) -> None:
    expected = "expected dict[str, float]"
    assert isinstance(metrics, dict), f"{what} returned a {type(metrics).__name__}; {expected}"
    for key, value in metrics.items():
        assert isinstance(key, str), (
            f"{what} returned the key {key!r}, a {type(key).__name__}; {expected}"
        )
        number = isinstance(value, (float, int)) and not isinstance(value, bool)
        assert number, f"{what} returned {key!r} as a {type(value).__name__}; {expected}"


def check_vector_env(
    env: VectorEnv,
    num_steps: int = 500,
    skip_render_check: bool = False,
    skip_close_check: bool = False,
) -> None:
    """Verifies that a vector environment, of whatever origin, keeps Gymnasium's vector contract. It
    is closed afterwards.

    Checked are spaces, the shapes and dtypes of what `reset` and `step` return, the declared
    autoreset mode against what happens, that no array is handed out twice, seeding by an int and by
    a list, rendering in the mode it was made for, and close.

    Args:
        env: with sub-environments that are alike. One whose rewards learn should be made with few
            of them, so that what it learns from does not end within the check.
        num_steps: at most so many random steps wait for episodes to end.
        skip_render_check: leave rendering out.
        skip_close_check: leave the environment open.

    Raises:
        AssertionError: a part of the contract is broken; the sentence says which, and what is
            expected.
    """
    _check_spaces(env)
    _check_steps(env, num_steps)
    _check_seeding(env)
    if not skip_render_check:
        _check_render(env)
    if not skip_close_check:
        env.close()
        _call("a second close()", env.close)
        if not env.closed:
            logger.warn(
                "env.closed is False after close(); override close_extras rather than close"
            )


def _check_spaces(env: VectorEnv) -> None:
    assert isinstance(env, VectorEnv), f"{type(env).__name__} is no gymnasium.vector.VectorEnv"
    num_envs: Any = getattr(env, "num_envs", None)
    whole = isinstance(num_envs, int) and num_envs >= 1
    assert whole, f"num_envs is {num_envs!r}; expected a whole number from 1"
    for name in ("observation_space", "action_space"):
        single, batched = getattr(env, f"single_{name}", None), getattr(env, name, None)
        assert isinstance(single, spaces.Space), f"single_{name} is {single!r}; expected a Space"
        expected = batch_space(single, num_envs)
        assert batched == expected, (
            f"{name} is {batched}; expected {expected}, single_{name} batched for {num_envs} envs"
        )
    mode = env.metadata.get("autoreset_mode")
    assert isinstance(mode, AutoresetMode), (
        f"metadata['autoreset_mode'] is {mode!r}; expected a gymnasium.vector.AutoresetMode"
    )


def _check_steps(env: VectorEnv, num_steps: int) -> None:
    """Random episodes; every result against the contract, and against the one before it and the
    autoreset mode.
    """
    check_autoreset = _AUTORESET[env.metadata["autoreset_mode"]]
    env.action_space.seed(0)
    first = result = _check_reset(env, env.reset(seed=0))
    done = np.zeros(env.num_envs, dtype=bool)
    endings = 0
    for _ in range(num_steps):
        kept = deepcopy(result)
        step = env.step(_actions(env, result[-1]))
        _check_step(env, step)
        _check_not_reused(result, kept, step)
        check_autoreset(env, step, done, first[0])
        done = step[2] | step[3]
        result = step
        if done.any() and env.metadata["autoreset_mode"] == AutoresetMode.DISABLED:
            result = _check_reset(env, env.reset(options={"reset_mask": done.copy()}))
        endings += bool(done.any())
        if endings > _ENDINGS:
            return
    if not endings:
        logger.warn(
            f"no episode ended in {num_steps} random steps, so that the autoreset mode was not "
            "checked"
        )


def _check_reset(env: VectorEnv, result: tuple[Any, ...]) -> tuple[Any, ...]:
    pair = isinstance(result, tuple) and len(result) == 2
    assert pair, "reset did not return a pair; expected (observations, infos)"
    _check_observations(env, result[0], "reset")
    _check_infos(env, result[1], "reset")
    return result


def _check_step(env: VectorEnv, result: Any) -> None:
    five = isinstance(result, tuple) and len(result) == 5
    assert five, (
        "step did not return a tuple of 5; expected (observations, rewards, terminations, "
        "truncations, infos)"
    )
    _check_observations(env, result[0], "step")
    for name, array, kinds in zip(
        ("rewards", "terminations", "truncations"), result[1:4], ("fiu", "b", "b"), strict=True
    ):
        expected = f"expected ({env.num_envs},) {'bool' if kinds == 'b' else 'numbers'}"
        assert isinstance(array, np.ndarray), (
            f"step returned {name} as a {type(array).__name__}; {expected}"
        )
        good = array.shape == (env.num_envs,) and array.dtype.kind in kinds
        assert good, (
            f"step returned {name} of shape {array.shape} and dtype {array.dtype}; {expected}"
        )
    _check_infos(env, result[4], "step")


def _check_observations(env: VectorEnv, observations: Any, call: str) -> None:
    shown = (
        f"{observations.dtype} of shape {observations.shape}"
        if isinstance(observations, np.ndarray)
        else observations
    )
    inside = observations in env.observation_space
    assert inside, (
        f"{call} returned observations, {shown}, that are not in observation_space "
        f"{env.observation_space}"
    )


def _check_infos(env: VectorEnv, infos: Any, call: str) -> None:
    assert isinstance(infos, dict), (
        f"{call} returned infos as a {type(infos).__name__}; expected a dict"
    )
    for key in infos:
        mask = infos.get(f"_{key}")
        if mask is not None:
            good = (
                isinstance(mask, np.ndarray)
                and mask.shape == (env.num_envs,)
                and mask.dtype == bool
            )
            assert good, (
                f"{call} returned infos['_{key}'] as {mask!r}; a mask is a ({env.num_envs},) bool "
                "array"
            )


def _check_not_reused(
    before: tuple[Any, ...], kept: tuple[Any, ...], after: tuple[Any, ...]
) -> None:
    for name, old, copy in zip(
        ("observations", *("array",) * (len(before) - 2), "infos"), before, kept, strict=True
    ):
        same = data_equivalence(old, copy, exact=True) or _has_nan(copy)
        assert same, (
            f"step changed the {name} that the call before it returned; every call must return new "
            "data"
        )
    old_arrays = list(_arrays(before))
    for new in _arrays(after):
        shared = any(np.shares_memory(new, old) for old in old_arrays)
        assert not shared, (
            "step returned an array that the call before it had returned already; every call must "
            "return new data"
        )


def _arrays(data: Any) -> Iterator[np.ndarray]:
    """Every array in a nest of dicts, tuples and object arrays."""
    if isinstance(data, np.ndarray) and data.dtype != object:
        yield data
    elif isinstance(data, (tuple, list, np.ndarray)):
        for part in data:
            yield from _arrays(part)
    elif isinstance(data, dict):
        yield from _arrays(tuple(data.values()))


def _has_nan(data: Any) -> bool:
    return any(
        array.dtype.kind == "f" and bool(np.isnan(array).any()) for array in _arrays((data,))
    )


def _actions(env: VectorEnv, infos: dict[str, Any]) -> Any:
    """Random actions; of the allowed ones where infos has an `action_mask` (num_envs, V)."""
    actions = env.action_space.sample()
    mask = infos.get("action_mask")
    if isinstance(mask, np.ndarray) and isinstance(env.single_action_space, spaces.Discrete):
        for i in np.flatnonzero(
            mask[np.arange(env.num_envs), actions - env.single_action_space.start] == 0
        ):
            actions[i] = env.single_action_space.start + mask[i].argmax()
    return actions


def _check_same_step(
    env: VectorEnv, step: tuple[Any, ...], was_done: np.ndarray, first: Any
) -> None:
    """The step that ends an episode returns the next one's first observation, and the last one and
    its info beside it.
    """
    done, infos = step[2] | step[3], step[4]
    for key in ("final_obs", "final_info"):
        mask = infos.get(f"_{key}", np.zeros(env.num_envs, dtype=bool))
        present = key in infos or not done.any()
        assert present, (
            f"an episode ended and infos has no {key!r}; AutoresetMode.SAME_STEP returns it in the "
            "same step"
        )
        assert np.array_equal(mask, done), (
            f"infos['_{key}'] is {mask} where episodes ended in {done}; the two must agree"
        )
    rows = np.flatnonzero(done)
    finals = {i: infos["final_obs"][i] for i in rows}
    for i, final in finals.items():
        inside = final in env.single_observation_space
        assert inside, (
            f"infos['final_obs'][{i}] is {final!r}; expected an element of "
            f"{env.single_observation_space}"
        )
    given, begun = (list(iterate(env.observation_space, obs)) for obs in (step[0], first))
    stale = [
        data_equivalence(final, given[i]) and not data_equivalence(final, begun[i])
        for i, final in finals.items()
    ]
    assert not (stale and all(stale)), (
        "step returned the last observation of an episode that ended; AutoresetMode.SAME_STEP "
        "returns the first one of the next"
    )


def _check_next_step(
    env: VectorEnv, step: tuple[Any, ...], was_done: np.ndarray, first: Any
) -> None:
    """The step after the end of an episode ignores its action and begins the next one, with reward
    0.
    """
    rewards, done = step[1], step[2] | step[3]
    good = not done[was_done].any() and not rewards[was_done].any()
    assert good, (
        f"the step after the end of an episode paid {rewards[was_done]} and ended "
        f"{done[was_done]}; AutoresetMode.NEXT_STEP resets in that step, with reward 0 and no end"
    )


def _check_disabled(
    env: VectorEnv, step: tuple[Any, ...], was_done: np.ndarray, first: Any
) -> None:
    """Whoever steps resets, through `options={"reset_mask": ...}`."""
    given = "final_obs" in step[4]
    assert not given, (
        "infos has 'final_obs', which is AutoresetMode.SAME_STEP's; under AutoresetMode.DISABLED "
        "step returns it"
    )


_AUTORESET: dict[AutoresetMode, Callable[[VectorEnv, tuple[Any, ...], np.ndarray, Any], None]] = {
    AutoresetMode.SAME_STEP: _check_same_step,
    AutoresetMode.NEXT_STEP: _check_next_step,
    AutoresetMode.DISABLED: _check_disabled,
}


def _check_seeding(env: VectorEnv) -> None:
    by_int = _trajectory(env, 123)
    assert data_equivalence(by_int, _trajectory(env, 123)), (
        "reset(seed=123) twice gave two trajectories; expected the same"
    )
    seeds = list(range(123, 123 + env.num_envs))
    try:
        env.reset(seed=seeds)  # type: ignore[arg-type]
    except Exception as problem:
        logger.warn(
            f"reset takes no list of seeds ({type(problem).__name__}: {problem}); SyncVectorEnv "
            "and AsyncVectorEnv do"
        )
        return
    by_list = _trajectory(env, seeds)
    assert data_equivalence(by_list, _trajectory(env, seeds)), (
        "reset(seed=[...]) twice gave two trajectories; expected the same"
    )
    assert data_equivalence(by_int, by_list), (
        "reset(seed=s) and reset(seed=[s, s + 1, ...]) gave two trajectories; env i of the seed s "
        "has the seed s + i"
    )


def _trajectory(env: VectorEnv, seed: int | list[int], num_steps: int = 10) -> list[Any]:
    """Observations, rewards and ends of the same random actions; infos may hold times."""
    env.action_space.seed(0)
    obs, infos = env.reset(seed=seed)  # type: ignore[arg-type]
    results: list[Any] = [deepcopy(obs)]
    for _ in range(num_steps):
        obs, rewards, terminations, truncations, infos = env.step(_actions(env, infos))
        results.append(deepcopy((obs, rewards, terminations, truncations)))
        done = terminations | truncations
        if done.any() and env.metadata["autoreset_mode"] == AutoresetMode.DISABLED:
            _, infos = env.reset(options={"reset_mask": done.copy()})
    return results


def _check_render(env: VectorEnv) -> None:
    modes = env.metadata.get("render_modes", [])
    assert env.render_mode is None or env.render_mode in modes, (
        f"render_mode is {env.render_mode!r}; metadata allows {modes}"
    )
    if env.render_mode in (None, "human"):
        return
    env.reset(seed=0)
    frames = env.render()
    good = isinstance(frames, (tuple, list)) and len(frames) == env.num_envs
    assert good, (
        f"render returned a {type(frames).__name__}; expected a tuple of {env.num_envs} frames"
    )
    kind: type = {"ansi": str, "rgb_array": np.ndarray}.get(env.render_mode or "", object)
    for frame in frames or ():
        assert isinstance(frame, kind), (
            f"render returned a {type(frame).__name__} in mode {env.render_mode!r}; expected {kind}"
        )


def check_task(task: Any) -> None:
    """Verifies a plug-in `Task`.

    Args:
        task: a task, or a class of tasks, of which one is made by its `defaults`.

    Raises:
        AssertionError: a part of the protocol is missing or misbehaves; the sentence says which,
            how, and what is expected.
    """
    if inspect.isclass(task):
        defaults = getattr(task, "defaults", None)
        frozen = getattr(getattr(defaults, "__dataclass_params__", None), "frozen", False)
        assert frozen, (
            f"{task.__name__} has no defaults, settings in an instance of a frozen dataclass; give "
            "its class one under this name"
        )
        task = _call(task.__name__, task, defaults, "task")
    name = type(task).__name__
    assert isinstance(task, Task), (
        f"{name} lacks a part of a task; expected name, spec, real_sequences, validation, "
        "held_out, draw_real, evaluate, decode and to"
    )
    for part in ("real_sequences", "validation", "held_out"):
        _check_sequences(f"{name}.{part}", getattr(task, part), task.spec)
        assert len(getattr(task, part)), f"{name}.{part} is empty; expected sequences"
    draws = [
        _call("draw_real", task.draw_real, 7, torch.Generator().manual_seed(0)) for _ in range(2)
    ]
    shape = tuple(draws[0].shape)
    expected = (7, task.spec.seq_len)
    assert shape == expected, f"draw_real(7, rng) gave shape {shape}; expected {expected}"
    _check_sequences("draw_real", draws[0], task.spec)
    assert torch.equal(*draws), (
        "draw_real gave other sequences for the same seed; draw from the generator it is given"
    )
    _check_text(task, task.held_out[0])
    policy = LSTMLanguageModel.initialised(task.spec, torch.Generator().manual_seed(0), 4, 4)
    found = [
        _call("evaluate", task.evaluate, policy, torch.Generator().manual_seed(1)) for _ in range(2)
    ]
    _check_metrics("evaluate", found[0])
    assert dict(found[0]) == dict(found[1]), (
        "evaluate gave other metrics for the same policy and seed; draw from the generator it is "
        "given"
    )


def _check_sequences(what: str, tokens: Any, spec: TokenSpec) -> None:
    assert isinstance(tokens, Tensor), f"{what} is a {type(tokens).__name__}; expected a tensor"
    try:
        spec.check_sequences(tokens, what)
    except ValueError as problem:
        raise AssertionError(str(problem)) from problem


def _check_text(task: Any, tokens: Tensor) -> None:
    """What `decode` writes is one line, which `encode`, where there is one, reads again."""
    text = _call("decode", task.decode, tokens)
    assert isinstance(text, str), f"decode gave a {type(text).__name__}; expected a str"
    assert "\n" not in text, f"decode gave {text!r}; expected one line"
    if not hasattr(task, "encode"):
        return
    again = _call("encode", task.encode, text)
    assert torch.equal(again.cpu(), tokens.cpu()), (
        f"encode gave another sequence than decode was given: {again.tolist()} from {text!r}, "
        f"which was {tokens.tolist()}"
    )


def check_metric(metric: Any, task: Task) -> None:
    """Verifies a metric of one's own, on the held-out sequences of a task.

    Raises:
        AssertionError: it has no name, gives no number, another one each time, or changes the
            sequences.
    """
    name = getattr(metric, "name", None)
    named = isinstance(name, str) and bool(name)
    assert named, f"{metric!r} has the name {name!r}; expected a str, under which results hold it"
    samples = task.held_out.clone()
    values = [_call(f"metric {name}", metric, samples, task) for _ in range(2)]
    for value in values:
        single = isinstance(value, (int, float)) or (
            isinstance(value, (Tensor, np.ndarray, np.generic)) and value.ndim == 0
        )
        assert single, f"metric {name} gave {value!r}; expected a number"
    assert float(values[0]) == float(values[1]), (
        f"metric {name} gave {float(values[0])} and then {float(values[1])} for the same sequences"
    )
    assert torch.equal(samples, task.held_out), f"metric {name} changed the sequences it was given"
