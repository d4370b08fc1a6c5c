"""The checkers: they pass what keeps its contract, and say of what does not the sentence that mends
it.
"""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import Tensor

from agents.reinforce import Reinforce
from seqgan_env.envs.env import TokenEnv
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.generators.language_model import LSTMLanguageModel
from seqgan_env.testing import check_agent, check_policy, check_vector_env
from seqgan_env.types import TokenSpec

from .conftest import EOS, FIXED, Successor, random_model, reward_model

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str) -> ModuleType:
    """A module of examples/, which is no package."""
    module_spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module
    module_spec.loader.exec_module(module)
    return module


class Agent:
    """A good agent that learns nothing, whose policy's `complete` is to be altered."""

    def __init__(self, spec: TokenSpec, **altered: Callable[..., Any]) -> None:
        self.policy = Policy(spec, **altered)

    def pretrain(self, sequences: Tensor, num_epochs: int) -> dict[str, float]:
        return {"mle_loss": 1.0}

    def update(self) -> dict[str, float]:
        return {"loss": 1.0}


class Policy:
    def __init__(
        self,
        spec: TokenSpec,
        complete: Callable[..., Any] | None = None,
        log_prob: Callable[..., Any] | None = None,
    ) -> None:
        self.spec, model = spec, random_model(spec)
        self.log_prob = log_prob or model.log_prob
        self.complete = (lambda *args: complete(model, *args)) if complete else model.complete


def test_a_good_agent_passes(spec: TokenSpec) -> None:
    check_agent(Agent(spec))


def test_reinforce_passes_as_a_class_and_on_an_environment_of_its_own(spec: TokenSpec) -> None:
    check_agent(Reinforce)
    check_agent(Reinforce(TokenVectorEnv(4, reward_model(spec)), random_model(spec)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "name"), [("custom_transformer", "TransformerAgent"), ("ngram_policy", "NgramAgent")]
)
def test_the_agents_of_the_examples_pass_with_an_end_token_too(module: str, name: str) -> None:
    cls = getattr(example(module), name)
    check_agent(cls)
    check_agent(cls(TokenVectorEnv(4, reward_model(EOS))))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_every_example_runs_on_quick_settings(name: str) -> None:
    if name.startswith("sb3"):
        pytest.importorskip("stable_baselines3")
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), "--quick"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "nll_oracle" in done.stdout


def behind_the_end(
    model: LSTMLanguageModel, tokens: Tensor, lengths: Tensor, rng: torch.Generator
) -> Tensor:
    done = model.complete(tokens, lengths, rng)
    return done.masked_fill(done == model.spec.pad_token, 3)


def wrong_end(
    model: LSTMLanguageModel, tokens: Tensor, lengths: Tensor, rng: torch.Generator
) -> Tensor:
    done = model.complete(tokens, lengths, rng)
    rows = lengths < model.spec.seq_len - 1
    done[rows, -1] = model.spec.pad_token
    return done


def in_place(
    model: LSTMLanguageModel, tokens: Tensor, lengths: Tensor, rng: torch.Generator
) -> Tensor:
    return tokens.copy_(model.complete(tokens, lengths, rng))


def changes_lengths(
    model: LSTMLanguageModel, tokens: Tensor, lengths: Tensor, rng: torch.Generator
) -> Tensor:
    done = model.complete(tokens, lengths, rng)
    lengths.fill_(model.spec.seq_len)
    return done


def early_end(
    model: LSTMLanguageModel, tokens: Tensor, lengths: Tensor, rng: torch.Generator
) -> Tensor:
    free = LSTMLanguageModel(TokenSpec(5, 6, eos_token=0), 4, 4)
    return torch.where(
        (lengths == 0).unsqueeze(1),
        free.complete(tokens, lengths, rng),
        model.complete(tokens, lengths, rng),
    )


BROKEN_POLICIES: list[tuple[TokenSpec, Callable[..., Any], str]] = [
    (
        FIXED,
        lambda m, t, n, g: m.complete(t, n, g)[:, :-1],
        r"returned shape \(48, 2\) for 48 prefixes; expected \(48, 3\)",
    ),
    (FIXED, lambda m, t, n, g: m.complete(t, n, g)[0], r"returned shape \(3,\) for 48 prefixes"),
    (
        FIXED,
        lambda m, t, n, g: m.complete(t, n, g).float(),
        "returned dtype torch.float32; expected torch.int64",
    ),
    (
        FIXED,
        lambda m, t, n, g: m.complete(t, n, g).int(),
        "returned dtype torch.int32; expected torch.int64",
    ),
    (
        FIXED,
        lambda m, t, n, g: m.complete(t, n, g) + 2,
        r"wrote token \d, out of range; allowed are 0..2",
    ),
    (FIXED, lambda m, t, n, g: m.complete(t, n, g) - 1, "wrote token -1, out of range"),
    (
        EOS,
        lambda m, t, n, g: m.complete(torch.full_like(t, 5), n * 0, g),
        "changed a finished prefix",
    ),
    (
        FIXED,
        lambda m, t, n, g: torch.where((n < 3).unsqueeze(1), m.sample(len(t), g), t),
        r"ignores the given prefix: \[\d(, \d)?\] became \[\d(, \d)?\]; a completion begins with "
        r"its prefix",
    ),
    (
        FIXED,
        lambda m, t, n, g: Successor(FIXED).complete(t, n, g),
        "ignores rng: different seeds gave the same completions",
    ),
    (
        FIXED,
        lambda m, t, n, g: m.complete(t, n, torch.default_generator),
        "ignores rng: the same seed gave other completions",
    ),
    (FIXED, in_place, r"changed the caller's arrays; it must work on a copy \(tokens.clone\(\)\)"),
    (FIXED, changes_lengths, "changed the caller's arrays"),
    (
        FIXED,
        lambda m, t, n, g: m.complete(t, n, g).numpy(),
        "returned a ndarray; expected a torch.Tensor",
    ),
    (FIXED, lambda m, t: t, "policy.complete raised TypeError"),
    (FIXED, wrong_end, "tokens and no end; expected finished sequences"),
    (
        EOS,
        behind_the_end,
        "changed a finished prefix; it must come back as it was given, padding included",
    ),
    (EOS, early_end, r"ended a sequence before 2 tokens \(min_length\)"),
]


@pytest.mark.parametrize(
    ("spec", "complete", "sentence"),
    BROKEN_POLICIES,
    ids=[sentence for _, _, sentence in BROKEN_POLICIES],
)
def test_a_broken_policy_is_told_what_to_mend(
    spec: TokenSpec, complete: Callable[..., Any], sentence: str
) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_agent(Agent(spec, complete=complete))


@pytest.mark.parametrize(
    ("log_prob", "sentence"),
    [
        (
            lambda tokens: tokens.float(),
            r"log_prob returned shape \(8, 3\) for 8 sequences; expected \(8,\)",
        ),
        (
            lambda tokens: tokens[:, 0],
            "log_prob returned dtype torch.int64; expected floating point",
        ),
        (
            lambda tokens: torch.full((8,), 0.3),
            "log_prob returned 0.3; a log-probability is at most 0",
        ),
        (lambda tokens: torch.full((8,), torch.nan), "log_prob returned nan"),
        (lambda tokens: 0.0, "log_prob returned a float"),
        (lambda tokens: -tokens.fill_(0)[:, 0].float(), "log_prob changed the caller's arrays"),
    ],
)
def test_a_broken_log_prob_is_told_what_to_mend(
    log_prob: Callable[..., Any], sentence: str
) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_policy(Policy(FIXED, log_prob=log_prob), FIXED)


class NoUpdate:
    policy = Policy(FIXED)

    def pretrain(self, sequences: Tensor, num_epochs: int) -> dict[str, float]:
        return {}


class NoPolicy(Agent):
    policy = None  # type: ignore[assignment]

    def __init__(self) -> None:
        pass


class NoComplete(Agent):
    def __init__(self) -> None:
        self.policy = object()  # type: ignore[assignment]


class ReturnsNothing(Agent):
    def pretrain(self, sequences: Tensor, num_epochs: int) -> dict[str, float]:
        return None  # type: ignore[return-value]


class ReturnsTensor(Agent):
    def update(self) -> dict[str, float]:
        return {"loss": torch.zeros(1)}  # type: ignore[dict-item]


class ShufflesData(Agent):
    def pretrain(self, sequences: Tensor, num_epochs: int) -> dict[str, float]:
        sequences.copy_(sequences.flip(0))
        return {}


class ReplacesPolicy(Agent):
    def update(self) -> dict[str, float]:
        self.policy = Policy(FIXED)
        return {}


class Raises(Agent):
    def update(self) -> dict[str, float]:
        raise KeyError("reward")


@pytest.mark.parametrize(
    ("agent", "sentence"),
    [
        (NoUpdate(), r"NoUpdate has no update\(\); an agent needs policy, pretrain, update"),
        (NoUpdate, r"the class NoUpdate has no update\(\)"),
        (object(), r"has no pretrain\(\) and no update\(\)"),
        (NoPolicy(), "NoPolicy has no policy"),
        (ReturnsNothing(FIXED), r"pretrain returned a NoneType; expected dict\[str, float\]"),
        (ReturnsTensor(FIXED), r"update returned 'loss' as a Tensor; expected dict\[str, float\]"),
        (ShufflesData(FIXED), "pretrain changed the caller's sequences"),
        (
            ReplacesPolicy(FIXED),
            "agent.policy is another object after training; it is bound by handle once",
        ),
        (Raises(FIXED), "update raised KeyError: 'reward'"),
        (
            Agent,
            r"Agent raised TypeError: .*unexpected keyword argument 'seed'|Agent raised TypeError",
        ),
    ],
)
def test_a_broken_agent_is_told_what_to_mend(agent: object, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_agent(agent)


def test_an_agent_that_does_not_tell_its_sequences_needs_a_spec() -> None:
    agent = Agent(FIXED)
    del agent.policy.spec
    with pytest.raises(AssertionError, match="give check_agent a spec"):
        check_agent(agent)
    check_agent(agent, FIXED)
    with pytest.raises(AssertionError, match=r"has no complete\(tokens, lengths, rng\)"):
        check_agent(NoComplete(), FIXED)


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.filterwarnings("error")
def test_gymnasiums_own_vector_environments_pass(mode: AutoresetMode) -> None:
    check_vector_env(SyncVectorEnv([lambda: gym.make("CartPole-v1")] * 3, autoreset_mode=mode))
    check_vector_env(
        SyncVectorEnv(
            [lambda: gym.make("FrozenLake-v1", render_mode="ansi")] * 2, autoreset_mode=mode
        )
    )


def test_made_vector_environments_pass(spec: TokenSpec) -> None:
    check_vector_env(gym.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync"))
    check_vector_env(TokenVectorEnv(3, reward_model(spec), render_mode="ansi"))
    check_vector_env(
        gym.wrappers.vector.RecordEpisodeStatistics(TokenVectorEnv(2, reward_model(spec)))
    )
    copies = [lambda: TokenEnv(reward_model(spec))] * 2
    check_vector_env(SyncVectorEnv(copies, autoreset_mode=AutoresetMode.SAME_STEP))


def test_what_cannot_be_checked_is_said() -> None:
    with pytest.warns(UserWarning, match="takes no list of seeds"):
        check_vector_env(
            gym.make_vec("CartPole-v1", num_envs=2, vectorization_mode="vector_entry_point")
        )
    with pytest.warns(UserWarning, match="no episode ended in 1 random steps"):
        check_vector_env(TokenVectorEnv(2, reward_model(FIXED)), num_steps=1)


class Broken(TokenVectorEnv):
    """The native environment with one thing altered."""

    def __init__(self, **altered: Any) -> None:
        super().__init__(2, reward_model(FIXED), render_mode="ansi")
        for name, value in altered.items():
            setattr(self, name, value)


class WrongObservations(Broken):
    def reset(self, **kwargs: Any) -> Any:
        obs, infos = super().reset(**kwargs)
        return obs.astype(np.float32) + 0.5, infos


class NoInfos(Broken):
    def reset(self, **kwargs: Any) -> Any:
        return super().reset(**kwargs)[0]


class IgnoresSeeds(Broken):
    def reset(self, *, seed: Any = None, **kwargs: Any) -> Any:
        return super().reset(seed=int(np.random.default_rng().integers(2**31)), **kwargs)


class SpreadsSeeds(Broken):
    def reset(self, *, seed: Any = None, **kwargs: Any) -> Any:
        return super().reset(
            seed=[seed + 10 * i for i in range(2)] if isinstance(seed, int) else seed, **kwargs
        )


class Steps(Broken):
    """Alters what step returns."""

    def step(self, actions: np.ndarray) -> Any:
        return self.alter(*super().step(actions))

    def alter(self, obs: Any, rewards: Any, terminations: Any, truncations: Any, infos: Any) -> Any:
        raise NotImplementedError


class FourResults(Steps):
    def alter(self, obs: Any, rewards: Any, terminations: Any, truncations: Any, infos: Any) -> Any:
        return obs, rewards, terminations, infos


class ColumnRewards(Steps):
    def alter(self, obs: Any, rewards: Any, terminations: Any, truncations: Any, infos: Any) -> Any:
        return obs, rewards[:, None], terminations, truncations, infos


class IntegerEnds(Steps):
    def alter(self, obs: Any, rewards: Any, terminations: Any, truncations: Any, infos: Any) -> Any:
        return obs, rewards, terminations.astype(int), truncations, infos


class ListInfos(Steps):
    def alter(self, obs: Any, rewards: Any, terminations: Any, truncations: Any, infos: Any) -> Any:
        return obs, rewards, terminations, truncations, [infos] * 2


class Reuses(Steps):
    def alter(self, obs: Any, rewards: Any, terminations: Any, truncations: Any, infos: Any) -> Any:
        return self.core.tokens, rewards, terminations, truncations, infos


class ReusesSilently(Steps):
    ends: ClassVar = np.zeros(2, dtype=bool)

    def alter(self, obs: Any, rewards: Any, terminations: Any, truncations: Any, infos: Any) -> Any:
        return obs, rewards, terminations, self.ends, infos


class NoFinalObs(Steps):
    def alter(self, obs: Any, rewards: Any, terminations: Any, truncations: Any, infos: Any) -> Any:
        return (
            obs,
            rewards,
            terminations,
            truncations,
            {k: v for k, v in infos.items() if "final_obs" not in k},
        )


class NoFinalInfo(Steps):
    def alter(self, obs: Any, rewards: Any, terminations: Any, truncations: Any, infos: Any) -> Any:
        return (
            obs,
            rewards,
            terminations,
            truncations,
            {k: v for k, v in infos.items() if "final_info" not in k},
        )


class WrongMask(Steps):
    def alter(self, obs: Any, rewards: Any, terminations: Any, truncations: Any, infos: Any) -> Any:
        return (
            obs,
            rewards,
            terminations,
            truncations,
            infos | ({"_final_obs": ~terminations} if terminations.any() else {}),
        )


class IntegerMask(Steps):
    def alter(self, obs: Any, rewards: Any, terminations: Any, truncations: Any, infos: Any) -> Any:
        return (
            obs,
            rewards,
            terminations,
            truncations,
            infos | {"_action_value": np.ones(2, dtype=int), "action_value": rewards},
        )


class WrongFinalObs(Steps):
    def alter(self, obs: Any, rewards: Any, terminations: Any, truncations: Any, infos: Any) -> Any:
        if terminations.any():
            infos["final_obs"][0] = infos["final_obs"][0].astype(np.float64)
        return obs, rewards, terminations, truncations, infos


class StaleObservations(Steps):
    def alter(self, obs: Any, rewards: Any, terminations: Any, truncations: Any, infos: Any) -> Any:
        last = np.stack(list(infos["final_obs"])) if terminations.all() else obs
        return last.astype(obs.dtype), rewards, terminations, truncations, infos


class OneFrame(Broken):
    def render(self) -> Any:
        return "one frame for all"


class ClosesOnce(Broken):
    def close(self, **kwargs: Any) -> None:
        if self.closed:
            raise RuntimeError("closed already")
        super().close(**kwargs)


def declares(mode: AutoresetMode) -> Callable[[], Broken]:
    return lambda: Broken(metadata=Broken.metadata | {"autoreset_mode": mode})


BROKEN_ENVS: list[tuple[Callable[[], Any], str]] = [
    (object, "object is no gymnasium.vector.VectorEnv"),
    (lambda: Broken(num_envs=2.0), "num_envs is 2.0; expected a whole number"),
    (lambda: Broken(num_envs=0), "num_envs is 0; expected a whole number from 1"),
    (
        lambda: Broken(action_space=gym.spaces.MultiDiscrete([3, 4])),
        "action_space is .* single_action_space batched for 2 envs",
    ),
    (
        lambda: Broken(single_observation_space=None),
        "single_observation_space is None; expected a Space",
    ),
    (lambda: Broken(metadata={"render_modes": ["ansi"]}), r"metadata\['autoreset_mode'\] is None"),
    (NoInfos, "reset did not return a pair"),
    (
        WrongObservations,
        r"reset returned observations, float32 of shape \(2, 3\), that are not in "
        r"observation_space",
    ),
    (FourResults, "step did not return a tuple of 5"),
    (
        ColumnRewards,
        r"step returned rewards of shape \(2, 1\) and dtype float64; expected \(2,\) numbers",
    ),
    (
        IntegerEnds,
        r"step returned terminations of shape \(2,\) and dtype int64; expected \(2,\) bool",
    ),
    (ListInfos, "step returned infos as a list; expected a dict"),
    (
        Reuses,
        "step changed the observations that the call before it returned; every call must return "
        "new data",
    ),
    (ReusesSilently, "step returned an array that the call before it had returned already"),
    (NoFinalObs, "an episode ended and infos has no 'final_obs'"),
    (NoFinalInfo, "an episode ended and infos has no 'final_info'"),
    (WrongMask, r"infos\['_final_obs'\] is .* where episodes ended in .*; the two must agree"),
    (IntegerMask, r"a mask is a \(2,\) bool array"),
    (WrongFinalObs, r"infos\['final_obs'\]\[0\] is array.*; expected an element of Box"),
    (StaleObservations, "step returned the last observation of an episode that ended"),
    (
        declares(AutoresetMode.NEXT_STEP),
        "AutoresetMode.NEXT_STEP resets in that step, with reward 0 and no end",
    ),
    (declares(AutoresetMode.DISABLED), "under AutoresetMode.DISABLED step returns it"),
    (IgnoresSeeds, r"reset\(seed=123\) twice gave two trajectories"),
    (SpreadsSeeds, r"env i of the seed s has the seed s \+ i"),
    (OneFrame, "render returned a str; expected a tuple of 2 frames"),
    (lambda: Broken(render_mode="human"), "render_mode is 'human'; metadata allows"),
    (ClosesOnce, r"a second close\(\) raised RuntimeError"),
]


@pytest.mark.parametrize(
    ("make", "sentence"), BROKEN_ENVS, ids=[sentence for _, sentence in BROKEN_ENVS]
)
def test_a_broken_vector_environment_is_told_what_to_mend(
    make: Callable[[], Any], sentence: str
) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_vector_env(make())


def test_the_checkers_leave_the_global_generator_alone() -> None:
    env, policy = TokenVectorEnv(2, reward_model(FIXED)), random_model(FIXED)
    before = torch.get_rng_state()
    check_vector_env(env)
    check_policy(policy, FIXED)
    assert torch.equal(before, torch.get_rng_state())
