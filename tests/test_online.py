"""Online learning: when updates come, what they change, what they leave alone, and that a seed
repeats them all.
"""

import copy
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from seqgan_env.discriminators.trainer import DiscriminatorTrainer
from seqgan_env.envs.env import TokenEnv
from seqgan_env.envs.online import OnlineRewardModel, OnlineSettings, PolicyClone
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.generators.language_model import LSTMLanguageModel
from seqgan_env.rewards.model import RewardModel
from seqgan_env.rewards.values import LaggedPolicy
from seqgan_env.testing import check_vector_env
from seqgan_env.training.adversarial import Schedule, train_adversarial

from .conftest import EOS, FIXED, random_model, reward_model, rng
from .test_env import assert_same

ID = "SeqGAN/Oracle-v0"
SMALL: dict[str, Any] = {
    "vocab_size": 6,
    "seq_len": 4,
    "num_real": 60,
    "num_held_out": 50,
    "num_rollouts": 2,
}
QUICK: dict[str, Any] = SMALL | {"d_interval": 6, "warm_up": 6, "warm_up_epochs": 1}


def make(num_envs: int = 3, **changes: Any) -> TokenVectorEnv:
    env = gym.make_vec(ID, num_envs=num_envs, **(QUICK | changes))
    assert isinstance(env, TokenVectorEnv)
    return env


def write(
    env: TokenVectorEnv, num_steps: int, seed: int | None = 0
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Rewards (num_steps, B) and infos of the same arbitrary actions."""
    actions = np.random.default_rng(5).integers(
        1, env.task.spec.vocab_size, (num_steps, env.num_envs)
    )
    env.reset(seed=seed)
    steps = [env.step(row) for row in actions]
    return np.stack([step[1] for step in steps]), [step[4] for step in steps]


def weights(env: TokenVectorEnv | TokenEnv) -> list[torch.Tensor]:
    """Copies of all parameters of the discriminator and of the rollout policy."""
    assert env.rewards.discriminator is not None
    assert isinstance(env.rewards.policy, torch.nn.Module)
    return [
        p.detach().clone()
        for model in (env.rewards.discriminator, env.rewards.policy)
        for p in model.parameters()
    ]


def equal(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_an_environment_with_nothing_shared_in_learns_online_and_fits_a_clone() -> None:
    for env in (gym.make_vec(ID, num_envs=2, **SMALL).unwrapped, gym.make(ID, **SMALL).unwrapped):
        assert isinstance(env, (TokenEnv, TokenVectorEnv))
        assert isinstance(env.rewards, OnlineRewardModel)
        assert env.rewards.learning
        assert isinstance(env.rewards.rollout_policy, LSTMLanguageModel)


@pytest.mark.parametrize(
    "what", ["policy", "discriminator", "online=False", "constant", "random", "rewards"]
)
def test_whoever_shares_something_in_or_asks_for_it_drives(what: str) -> None:
    driven = gym.make_vec(ID, num_envs=2, online=False, **SMALL).unwrapped.rewards  # type: ignore[attr-defined]
    changes: dict[str, dict[str, Any]] = {
        "policy": SMALL | {"policy": driven.policy},
        "discriminator": SMALL | {"discriminator": driven.discriminator},
        "online=False": SMALL | {"online": False},
        "constant": SMALL | {"source": "constant"},
        "random": SMALL | {"source": "random"},
        "rewards": {"rewards": driven},
    }
    env = gym.make_vec(ID, num_envs=2, **changes[what]).unwrapped
    assert isinstance(env, TokenVectorEnv)
    assert type(env.rewards) is RewardModel
    assert env.online_metrics() == {}


def test_updates_come_when_enough_episodes_have_ended_and_take_them_all() -> None:
    env = make(num_envs=4, warm_up=8, d_interval=3)
    seen = []
    env.reset(seed=0)
    for step in range(16):  # 4 episodes end every 4 steps
        env.step(np.ones(4, dtype=np.int64))
        seen.append(env.online_metrics().get("online/episodes", 0.0))
        assert len(seen) == step + 1
    assert seen == [0.0] * 7 + [8.0] * 4 + [12.0] * 4 + [16.0]
    assert env.online_metrics()["online/updates"] == 3


def test_an_update_moves_discriminator_and_clone_and_nothing_else_does() -> None:
    env = make()
    before = weights(env)
    write(env, 7)
    assert equal(before, weights(env))
    env.step(np.ones(3, dtype=np.int64))
    assert not any(
        torch.equal(a, b)
        for a, b in zip(before, weights(env), strict=True)
        if a.abs().sum() > 0 and a.numel() > 100
    )
    assert not equal(before, weights(env))


def test_the_same_seed_gives_bit_identical_rewards_and_updates_and_another_seed_others() -> None:
    envs = [make(), make(), make()]
    runs = [write(env, 40, seed) for env, seed in zip(envs, (3, 3, 4), strict=True)]
    assert envs[0].rewards.num_updates == 5  # type: ignore[attr-defined]
    assert np.array_equal(runs[0][0], runs[1][0])
    assert equal(weights(envs[0]), weights(envs[1]))
    assert envs[0].online_metrics() == envs[1].online_metrics()
    assert not np.array_equal(runs[0][0], runs[2][0])
    assert not equal(weights(envs[0]), weights(envs[2]))


def test_a_vector_environment_of_one_is_the_single_environment_through_all_updates() -> None:
    vector, single = make(1), gym.make(ID, **QUICK).unwrapped
    rewards, _ = write(vector, 60, seed=2)
    actions = np.random.default_rng(5).integers(1, 6, 60)
    single.reset(seed=2)
    paid = []
    for action in actions:
        _, reward, terminated, _, _ = single.step(action)
        paid.append(reward)
        if terminated:
            single.reset()
    assert np.array_equal(rewards[:, 0], np.array(paid))
    assert isinstance(single, TokenEnv)
    assert single.online_metrics() == vector.online_metrics() != {}


def test_between_updates_env_i_of_the_seed_s_is_the_single_env_of_the_seed_s_plus_i() -> None:
    env = make()
    write(env, 20)
    assert env.online_metrics()["online/updates"] == 2
    singles = [TokenEnv(env.rewards, online=False) for _ in range(3)]
    firsts = env.reset(seed=8)[0]
    for i, single in enumerate(singles):
        assert np.array_equal(single.reset(seed=8 + i)[0], firsts[i])
    for step in range(3):
        _, rewards, _, _, _ = env.step(np.full(3, step))
        assert rewards == pytest.approx(
            [single.step(np.int64(step))[1] for single in singles], abs=1e-6
        )


def test_reset_with_a_seed_does_not_undo_what_was_learned() -> None:
    env = make()
    first, _ = write(env, 40, seed=0)
    learned = weights(env)
    env.reset(seed=0)
    assert equal(learned, weights(env))
    again, _ = write(env, 4, seed=0)
    assert not np.array_equal(first[:4], again)


def test_infos_tell_of_an_update_where_episodes_made_it() -> None:
    env = make(num_envs=6)
    _, infos = write(env, 8)
    told = [info["final_info"] for info in infos if "final_info" in info]
    assert len(told) == 2
    for final in told:
        assert final["_online"].all()
        assert final["online"]["discriminator/accuracy_heldout"].shape == (6,)
        assert final["online"]["_discriminator/accuracy_heldout"].all()
    assert {
        key: float(told[1]["online"][key][0]) for key in env.online_metrics()
    } == env.online_metrics()
    single = gym.make(ID, **QUICK | {"warm_up": 1}).unwrapped
    single.reset(seed=0)
    info = [single.step(np.int64(1))[4] for _ in range(4)]
    assert [("online" in one) for one in info] == [False, False, False, True]
    assert info[-1]["online"] == single.online_metrics()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("d_memory", "negatives"), [(0, [6, 6, 6]), (4, [6, 10, 10]), (100, [6, 12, 12])]
)
def test_the_discriminator_sees_as_many_past_episodes_as_new_ones_while_they_are_remembered(
    d_memory: int, negatives: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def fit(
        self: DiscriminatorTrainer, real: torch.Tensor, generated: torch.Tensor, *args: Any
    ) -> dict[str, float]:
        assert len(real) == len(generated)
        seen.append(len(generated))
        return {}

    monkeypatch.setattr(DiscriminatorTrainer, "fit", fit)
    write(make(num_envs=6, d_memory=d_memory), 12)
    assert seen == negatives


def test_the_metrics_are_of_episodes_that_were_not_trained_on_yet() -> None:
    env = make()
    metrics = write_until_update(env)
    names = {
        "discriminator/loss",
        "discriminator/accuracy_heldout",
        "clone/nll",
        "task/nll_oracle",
        "online/updates",
    }
    assert names <= metrics.keys()
    assert metrics["clone/nll"] == pytest.approx(
        np.log(6), abs=0.05
    )  # of a clone that has learned nothing


def write_until_update(env: TokenVectorEnv) -> dict[str, float]:
    write(env, 8)
    return env.online_metrics()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_loop_may_step_without_gradients(mode: Callable[[], Any]) -> None:
    env, plain = make(), make()
    with mode():
        rewards, _ = write(env, 30)
    assert np.array_equal(rewards, write(plain, 30)[0])
    assert np.array_equal(write(env, 30)[0], write(plain, 30)[0])  # and go on with them


def global_numbers() -> np.ndarray:
    """The state of NumPy's global generator."""
    state: tuple[Any, ...] = np.random.get_state(legacy=True)  # type: ignore[assignment]  # noqa: NPY002
    numbers: np.ndarray = state[1]
    return numbers.copy()


def test_the_global_generators_are_left_alone() -> None:
    env = make()
    state, numpy_state = torch.get_rng_state(), global_numbers()
    write(env, 20)
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(numpy_state, global_numbers())


def test_play_hands_its_episodes_over_too() -> None:
    env = make(num_envs=6)
    env.reset(seed=0)
    env.play(torch.ones(6, 4, dtype=torch.int64))
    assert env.online_metrics()["online/episodes"] == 6


def test_an_environment_to_evaluate_in_teaches_nothing() -> None:
    env = make()
    evaluation = gym.make_vec(ID, num_envs=3, rewards=env.rewards, online=False).unwrapped
    before = weights(env)
    assert isinstance(evaluation, TokenVectorEnv)
    write(evaluation, 40)
    assert equal(before, weights(env))


def test_algorithm_one_takes_over_when_it_binds_its_policy() -> None:
    class Agent:
        policy = random_model(make().task.spec)

        def pretrain(self, sequences: torch.Tensor, num_epochs: int) -> dict[str, float]:
            return {}

        def update(self) -> dict[str, float]:
            env.play(self.policy.sample(3, rng()))
            return {}

    env = make()
    env.reset(seed=0)
    list(
        train_adversarial(
            Agent(), env.rewards, Schedule(rounds=4, num_negatives=10, num_heldout=10)
        )
    )
    assert env.online_metrics() == {}
    assert env.rewards.policy is Agent.policy


def test_a_remade_environment_has_models_of_its_own_and_a_copied_one_shares_them() -> None:
    env = gym.make(ID, **QUICK)
    assert env.spec is not None
    assert gym.make(env.spec).unwrapped.rewards is not env.unwrapped.rewards  # type: ignore[attr-defined]
    assert copy.deepcopy(env).unwrapped.rewards is env.unwrapped.rewards  # type: ignore[attr-defined]


def test_forms_and_sources_without_a_discriminator_fit_the_clone_alone() -> None:
    env = make(source="optimal", reward="terminal")
    write(env, 20)
    assert "clone/nll" in env.online_metrics()
    assert not any(key.startswith("discriminator") for key in env.online_metrics())


def test_a_clone_that_nothing_rolls_out_is_not_fitted() -> None:
    env = make(reward="terminal")
    write(env, 20)
    assert "clone/nll" not in env.online_metrics()
    assert "discriminator/loss" in env.online_metrics()


def test_a_policy_that_is_given_is_rolled_out_as_it_is() -> None:
    policy = random_model(make().task.spec)
    before = [p.clone() for p in policy.parameters()]
    env = make(policy=policy, online=True)
    write(env, 20)
    assert env.rewards.rollout_policy is policy
    assert equal(before, list(policy.parameters()))
    assert "discriminator/loss" in env.online_metrics()
    assert "clone/nll" not in env.online_metrics()


def test_a_lagged_copy_of_a_given_policy_moves_towards_it_at_every_update() -> None:
    policy = random_model(make().task.spec)
    env = make(policy=policy, online=True, sync_rate=0.5)
    lagged = env.rewards.rollout_policy
    assert isinstance(lagged, LaggedPolicy)
    expected = [p.detach().clone() for p in policy.parameters()]
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(1.0)
    write(env, 20)
    num_updates = int(env.online_metrics()["online/updates"])
    assert num_updates
    for moved, live in zip(expected, policy.parameters(), strict=True):
        for _ in range(num_updates):
            moved.lerp_(live.detach(), 0.5)
    assert equal(expected, [p.detach() for p in lagged.copy.parameters()])


def test_what_was_played_is_learned_from_even_if_the_callers_tensor_is_used_again() -> None:
    envs = make(num_envs=5), make(num_envs=5)
    for env, reused in zip(envs, (False, True), strict=True):
        env.reset(seed=0)
        tokens = torch.ones(5, 4, dtype=torch.int64)
        env.play(tokens)
        if reused:
            tokens.fill_(2)
        env.play(torch.full((5, 4), 3))
    assert equal(weights(envs[0]), weights(envs[1]))
    assert envs[0].online_metrics()["online/updates"] == 1


def test_sequences_with_an_end_are_learned_from_like_any() -> None:
    model = reward_model(EOS)
    online = OnlineRewardModel(
        model.task, model.settings, random_model(EOS), None, OnlineSettings(warm_up=3, d_interval=3)
    )
    env = TokenVectorEnv(2, online)
    tokens = random_model(EOS, seed=4).sample(2, rng())
    env.reset(seed=0)
    for _ in range(4):
        env.play(tokens)
    assert online.num_updates == 2


@pytest.mark.slow
def test_the_clone_becomes_the_policy_that_writes_and_follows_it_when_it_changes() -> None:
    first, second = random_model(FIXED, seed=1), random_model(FIXED, seed=2)
    clone = PolicyClone(LSTMLanguageModel.initialised(FIXED, rng(), 8, 8), OnlineSettings())
    for policy in (first, second):
        for i in range(30):
            clone.fit(policy.sample(500, rng(i)), rng(i))
        sequences = policy.sample(4000, rng(99))
        surplus = float((policy.log_prob(sequences) - clone.model.log_prob(sequences)).mean())
        assert surplus < 0.03  # KL(policy || clone) per sequence, in nats


@pytest.mark.slow
def test_the_discriminator_learns_to_tell_a_bad_policy_from_real_data() -> None:
    env = make(num_envs=50, num_real=1000, d_interval=200, warm_up=200)
    write(env, 60)
    assert env.online_metrics()["discriminator/accuracy_heldout"] > 0.6


@pytest.mark.filterwarnings("error")
def test_the_checkers_pass_under_the_default() -> None:
    check_env(gym.make(ID, **SMALL).unwrapped)
    check_vector_env(gym.make_vec(ID, num_envs=3, render_mode="ansi", **SMALL))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"d_interval": 0}, "d_interval is 0; allowed is a whole number from 1"),
        ({"clone_learning_rate": 0.0}, "clone_learning_rate is 0.0"),
        ({"d_memory": -1}, "d_memory is -1; allowed is 0 or more"),
        ({"rollout_policy": "copy"}, "unknown rollout_policy 'copy'"),
        ({"rollout_policy": "live"}, "rolls out the policy you give; none was given"),
        (
            {"rollout_policy": "clone", "policy": random_model(FIXED), "online": True},
            "leave out policy",
        ),
        (
            {"online": False, "d_interval": 3},
            "d_interval is about online learning, which is off here",
        ),
        (
            {"rewards": reward_model(FIXED), "num_rollouts": 3},
            "rewards were given together with num_rollouts",
        ),
        ({"rewards": reward_model(FIXED), "online": True}, "rewards that are driven from outside"),
    ],
)
def test_bad_settings_are_refused_with_what_is_allowed(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        gym.make_vec(ID, num_envs=2, **settings)


def test_an_unknown_keyword_is_a_type_error_with_the_nearest_name() -> None:
    with pytest.raises(TypeError, match="Did you mean 'd_interval'"):
        gym.make_vec(ID, num_envs=2, d_intervall=3)


def test_a_policy_that_cannot_be_fitted_is_refused() -> None:
    model = reward_model(FIXED)
    with pytest.raises(ValueError, match="fits a LanguageModel to the episodes; Fixed is none"):
        OnlineRewardModel(
            model.task,
            model.settings,
            type("Fixed", (), {"complete": lambda self, *args: args[0]})(),
        )


def test_infos_of_an_update_do_not_disturb_gymnasiums_conversion_of_infos() -> None:
    wrapped = gym.wrappers.vector.DictInfoToList(make(num_envs=6))
    wrapped.reset(seed=0)
    infos = [wrapped.step(np.ones(6, dtype=np.int64))[4] for _ in range(4)]
    assert infos[-1][2]["final_info"]["online"]["online/updates"] == 1
    assert_same(infos[-1][0]["final_info"]["online"], infos[-1][5]["final_info"]["online"])
