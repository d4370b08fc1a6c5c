"""The Gymnasium faces: contracts, seeding laws, the agreement of every route to a reward, and bad
actions.
"""

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import seqgan_env
from seqgan_env.envs.env import TokenEnv
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.rewards.forms import FORMS
from seqgan_env.rewards.model import RewardModel, RewardSettings
from seqgan_env.streams import RowStreams, streams_from_keys
from seqgan_env.types import TokenSpec

from .conftest import EOS, FIXED, Successor, WeightedSum, random_model, reward_model, rng

IDS = sorted(env_id for env_id in gym.registry if env_id.startswith("SeqGAN/"))
SMALL: dict[str, dict[str, Any]] = {
    "SeqGAN/Oracle-v0": {
        "vocab_size": 6,
        "seq_len": 4,
        "num_real": 50,
        "num_held_out": 50,
        "num_rollouts": 2,
    },
    "SeqGAN/Text-v0": {"num_rollouts": 2, "max_length": 8},
}
# Of every kind of sequence: of one token, with an end, with an end that is masked at first.
KINDS = [
    TokenSpec(3, 1),
    TokenSpec(2, 1, eos_token=1),
    TokenSpec(3, 3),
    TokenSpec(4, 2, eos_token=0, min_length=1),
    TokenSpec(5, 6, eos_token=4, min_length=5),
]


def write_all(env: TokenVectorEnv, tokens: torch.Tensor) -> np.ndarray:
    """The rewards (B, T) of stepping row i in env i for one episode; other envs' next episodes
    write row i again.
    """
    spec, total = env.task.spec, np.zeros(tokens.shape)
    done = np.zeros(len(tokens), dtype=bool)
    position = np.zeros(len(tokens), dtype=int)
    while not done.all():
        actions = tokens.numpy()[np.arange(len(tokens)), position]
        _, rewards, terminations, _, _ = env.step(actions)
        total[np.arange(len(tokens)), position] += np.where(done, 0, rewards)
        done |= terminations
        position = np.where(terminations, 0, position + 1)
    assert spec.seq_len == tokens.shape[1]
    return total


@pytest.mark.slow
@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("render_mode", [None, "ansi"])
@pytest.mark.parametrize("reward", ["rollout", "difference", "terminal"])
@pytest.mark.filterwarnings("error")
def test_every_id_passes_gymnasiums_checker(
    env_id: str, render_mode: str | None, reward: str
) -> None:
    settings = SMALL.get(env_id, {"num_rollouts": 2})
    env = gym.make(env_id, render_mode=render_mode, reward=reward, **settings)
    check_env(env.unwrapped)


TEXTS: list[dict[str, Any]] = [
    {"level": "char"},
    {"level": "word", "min_length": 7},
    {"tokenizer": "english"},
    {"fixed_length": True},
    {"max_length": 2},
    {"level": "char", "observation": "dict", "min_length": 3},
]


@pytest.mark.slow
@pytest.mark.parametrize("settings", TEXTS, ids=str)
@pytest.mark.filterwarnings("error")
def test_texts_of_every_level_pass_gymnasiums_checker_whatever_is_written_first(
    settings: dict[str, Any],
) -> None:
    small = SMALL["SeqGAN/Text-v0"] | {"long_lines": "cut"}
    env = gym.make("SeqGAN/Text-v0", **small | settings).unwrapped
    check_with_first_tokens(env, (0, 1, 2))


CHEMISTRY: list[tuple[str, dict[str, Any]]] = [
    ("Molecule", {"max_molecules": 200}),
    ("Molecule", {"max_molecules": 200, "notation": "selfies"}),
    ("Molecule", {"max_molecules": 200, "source": "qed", "diversity_filter": 1}),
    ("Molecule", {"max_molecules": 200, "observation": "dict"}),
    ("Peptide", {}),
    ("Peptide", {"max_length": 12, "source": "stability"}),
    ("Peptide", {"observation": "dict"}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "settings"), CHEMISTRY, ids=str)
@pytest.mark.filterwarnings("error")
def test_molecules_and_peptides_pass_gymnasiums_checker_whatever_is_written_first(
    kind: str, settings: dict[str, Any]
) -> None:
    pytest.importorskip("rdkit")
    env = gym.make(f"SeqGAN/{kind}-v0", **{"num_rollouts": 2} | settings).unwrapped
    check_with_first_tokens(env, (0, 1, 2))  # the end first, which is masked there


def test_the_checker_is_run_on_every_kind_of_data() -> None:
    kinds = {"Oracle", "Text", "Music", "Molecule", "Peptide"}
    assert {f"SeqGAN/{kind}-v0" for kind in kinds} <= set(IDS)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("observation", ["tokens", "one_hot", "dict"])
@pytest.mark.parametrize("reward", ["rollout", "difference", "terminal"])
@pytest.mark.filterwarnings("error")
def test_every_kind_of_sequence_passes_gymnasiums_checker_whatever_is_written_first(
    kind: TokenSpec, observation: str, reward: str
) -> None:
    model = reward_model(kind, reward=reward)
    env = gym.make("SeqGAN/Oracle-v0", rewards=model, observation=observation).unwrapped
    check_with_first_tokens(env, range(kind.vocab_size))


class Always(gym.spaces.Discrete):
    """A space whose sample is known."""

    def __init__(self, num: int, token: int) -> None:
        super().__init__(num)
        self.token = token

    def sample(self, *args: Any, **kwargs: Any) -> np.int64:
        return np.int64(self.token)


def check_with_first_tokens(env: gym.Env, tokens: Iterable[int]) -> None:
    """Gymnasium's checker takes one step, with a sample of the space."""
    vocab_size = env.action_space.n  # type: ignore[attr-defined]
    for token in tokens:
        env.action_space = Always(vocab_size, token)
        check_env(env)


def overwrite(returned: Any) -> None:
    """Writes into every array of what a step returned."""
    if isinstance(returned, np.ndarray) and returned.dtype == bool:
        returned |= True
    elif isinstance(returned, np.ndarray) and returned.dtype != object:
        returned += 7
    elif isinstance(returned, dict | tuple | np.ndarray):
        for item in returned.values() if isinstance(returned, dict) else returned:
            overwrite(item)


@pytest.mark.parametrize("form", list(FORMS))
def test_who_writes_into_what_a_step_returned_changes_no_later_step(
    spec: TokenSpec, form: str
) -> None:
    plain, written = (TokenVectorEnv(3, reward_model(spec, reward=form)) for _ in range(2))
    for env in (plain, written):
        env.reset(seed=5)
    for actions in np.random.default_rng(1).integers(
        1, spec.vocab_size, size=(3 * spec.seq_len, 3)
    ):
        expected, returned = (env.step(actions) for env in (plain, written))
        for a, b in zip(expected[:4], returned[:4], strict=True):
            np.testing.assert_array_equal(a, b)
        for key in set(expected[4]) - {"final_info", "final_obs"}:
            np.testing.assert_array_equal(expected[4][key], returned[4][key])
        overwrite(returned)


@pytest.mark.parametrize("form", list(FORMS))
def test_offline_single_and_vector_rewards_agree_with_stochastic_rollouts_too(
    spec: TokenSpec, form: str
) -> None:
    model = reward_model(spec, reward=form)
    tokens = random_model(spec).sample(6, rng(3))
    env = TokenVectorEnv(6, model)
    env.reset(seed=11)
    offline = model.rewards(
        tokens, streams_from_keys(env.core.episode_keys(), torch.device("cpu"))
    ).numpy()
    played = env.play(tokens).numpy()
    env.reset(seed=11)
    stepped = write_all(env, tokens)
    single = np.zeros_like(stepped)
    for i, row in enumerate(tokens.tolist()):
        one = TokenEnv(model)
        one.reset(seed=11 + i)
        for t, token in enumerate(row[: int((tokens[i] != spec.pad_token).sum())]):
            single[i, t] = one.step(np.int64(token))[1]
    for route in (played, stepped, single):
        np.testing.assert_allclose(route, offline, atol=1e-5, rtol=1e-5)


def test_env_i_of_a_vector_env_is_the_single_env_seeded_s_plus_i_in_everything_it_returns(
    spec: TokenSpec,
) -> None:
    model = reward_model(spec)
    native = TokenVectorEnv(4, model)
    copies = SyncVectorEnv([lambda: TokenEnv(model)] * 4, autoreset_mode=AutoresetMode.SAME_STEP)
    actions = np.random.default_rng(0).integers(1, spec.vocab_size, (25, 4))
    assert_same(native.reset(seed=5), copies.reset(seed=5))
    for step in actions:
        assert_same(native.step(step), copies.step(step))


def assert_same(a: Any, b: Any) -> None:
    """Equal in structure and, to rounding, in every number."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, tuple):
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, np.ndarray) and a.dtype == object:
        for x, y in zip(a, b, strict=True):
            assert (x is None) == (y is None)
            if x is not None:
                assert_same(x, y)
    else:
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_list_of_seeds_gives_every_env_its_own(spec: TokenSpec) -> None:
    env = TokenVectorEnv(3, reward_model(spec))
    env.reset(seed=[4, 9, 4])
    keys = env.core.episode_keys()
    assert keys[0] == keys[2] != keys[1]
    env.reset(seed=4)
    assert env.core.episode_keys()[0] == keys[0]


def test_the_same_seed_gives_the_same_rewards_and_another_seed_others(spec: TokenSpec) -> None:
    env, tokens = TokenVectorEnv(5, reward_model(spec)), random_model(spec).sample(5, rng())
    runs = []
    for seed in (1, 1, 2):
        env.reset(seed=seed)
        runs.append((env.play(tokens), env.play(tokens)))
    assert torch.equal(runs[0][0], runs[1][0])
    assert torch.equal(runs[0][1], runs[1][1])
    assert not torch.equal(runs[0][0], runs[2][0])
    assert not torch.equal(runs[0][0], runs[0][1])  # the next episode has its own stream


@pytest.mark.parametrize("form", ["difference", "terminal", "token"])
def test_rewards_of_discount_1_sum_to_the_score_of_the_sequence(spec: TokenSpec, form: str) -> None:
    model, tokens = reward_model(spec, reward=form), random_model(spec).sample(20, rng())
    torch.testing.assert_close(
        model.rewards(tokens, rng()).sum(1), WeightedSum(spec).score(tokens), rtol=1e-4, atol=1e-4
    )


class Unused(Successor):
    """A policy that may not be rolled out."""

    def complete(self, *args: Any) -> torch.Tensor:
        raise AssertionError("nothing was to be rolled out")


def test_a_token_earns_its_part_of_the_score_and_rolls_nothing_out(spec: TokenSpec) -> None:
    model = reward_model(spec, Unused(spec), reward="token")
    tokens = random_model(spec).sample(20, rng())
    parts = WeightedSum(spec).token_scores(tokens)
    torch.testing.assert_close(model.rewards(tokens, rng()), parts, rtol=1e-4, atol=1e-4)
    paid = write_all(reset(TokenVectorEnv(20, model)), tokens)
    np.testing.assert_allclose(paid, parts.numpy(), rtol=1e-4, atol=1e-4)


def test_a_score_that_is_no_sum_over_tokens_pays_no_token(spec: TokenSpec) -> None:
    class Longest:
        def score(self, tokens: torch.Tensor) -> torch.Tensor:
            return spec.lengths(tokens).float()

    with pytest.raises(ValueError, match=r"Longest has no token_scores"):
        reward_model(spec, source=Longest(), reward="token")
    with pytest.raises(ValueError, match="set score_as to 'logit'"):
        RewardSettings(source="0.5 * optimal + constant", reward="token", score_as="probability")
    RewardSettings(source="constant", reward="token", score_as="probability")


def test_terminal_rewards_are_the_score_at_the_end_and_roll_nothing_out(spec: TokenSpec) -> None:
    model, tokens = (
        reward_model(spec, Unused(spec), reward="terminal"),
        random_model(spec).sample(20, rng()),
    )
    rewards = model.rewards(tokens, rng())
    torch.testing.assert_close(rewards.sum(1), WeightedSum(spec).score(tokens))
    last = spec.lengths(tokens) - 1
    assert torch.equal(rewards.gather(1, last.unsqueeze(1)).squeeze(1), rewards.sum(1))
    assert write_all(reset(TokenVectorEnv(20, model)), tokens).sum() == pytest.approx(
        float(rewards.sum())
    )


def reset(env: TokenVectorEnv) -> TokenVectorEnv:
    env.reset(seed=0)
    return env


@pytest.mark.parametrize(
    ("form", "discount"),
    [("rollout", 0.0), ("difference", 1.0), ("terminal", 1.0), ("token", 1.0)],
)
def test_the_discount_that_fits_the_form_is_exposed(form: str, discount: float) -> None:
    model = reward_model(FIXED, reward=form)
    assert TokenEnv(model).discount == TokenVectorEnv(2, model).discount == discount


def test_the_end_of_an_episode_tells_score_and_statistics(spec: TokenSpec) -> None:
    env, tokens = TokenEnv(reward_model(spec)), random_model(spec).sample(1, rng())[0]
    env.reset(seed=0)
    rewards = []
    for token in tokens[tokens != spec.pad_token].tolist():
        _, reward, terminated, truncated, info = env.step(np.int64(token))
        assert info["action_value"] == reward
        assert not truncated
        rewards.append(reward)
    assert terminated
    assert info["score"] == pytest.approx(float(WeightedSum(spec).score(tokens.unsqueeze(0))))
    assert info["episode"]["r"] == pytest.approx(sum(rewards))
    assert info["episode"]["l"] == len(rewards)
    assert info["episode"].keys() == {"r", "l"}


def test_gymnasiums_statistics_wrappers_work() -> None:
    model = reward_model(FIXED)
    single = gym.wrappers.RecordEpisodeStatistics(TokenEnv(model, episode_statistics=False))
    vector = gym.wrappers.vector.RecordEpisodeStatistics(TokenVectorEnv(2, model))
    single.reset(seed=0)
    vector.reset(seed=0)
    for _ in range(3):
        info = single.step(np.int64(1))[4]
        infos = vector.step(np.array([1, 1]))[4]
    assert info["episode"]["l"] == 3
    assert infos["episode"]["l"].tolist() == [3, 3]
    assert infos["final_info"]["episode"]["r"] == pytest.approx(infos["episode"]["r"])


def test_a_finished_row_returns_its_last_observation_and_begins_anew(spec: TokenSpec) -> None:
    env = reset(TokenVectorEnv(2, reward_model(spec)))
    while True:
        obs, _, terminations, truncations, infos = env.step(np.array([1, 2]))
        assert not truncations.any()
        if terminations.any():
            break
    assert (obs[terminations] == spec.pad_token).all()
    for i in terminations.nonzero()[0]:
        assert (infos["final_obs"][i] == i + 1).all()
        assert infos["final_obs"][i] in env.single_observation_space


def test_the_mask_forbids_the_end_until_min_length() -> None:
    env = TokenEnv(reward_model(EOS))
    _, info = env.reset(seed=0)
    for _ in range(EOS.min_length):
        assert info["action_mask"].tolist() == [0, 1, 1, 1, 1]
        info = env.step(np.int64(1))[4]
    assert info["action_mask"].tolist() == [1, 1, 1, 1, 1]
    assert env.step(np.int64(0))[2]


@pytest.mark.parametrize("eos_token", [0, 2, 4])
@pytest.mark.parametrize("form", ["rollout", "difference", "terminal"])
def test_for_a_masked_end_the_next_token_is_written_paid_and_told(
    eos_token: int, form: str
) -> None:
    spec = TokenSpec(5, 6, eos_token, min_length=3)
    model, written = reward_model(spec, reward=form), (eos_token + 1) % 5
    blind, plain = TokenEnv(model), TokenEnv(model)
    for env in (blind, plain):
        env.reset(seed=3)
    for _ in range(spec.min_length):
        *expected, told = plain.step(np.int64(written))
        *given, info = blind.step(np.int64(eos_token))
        assert_same(tuple(given), tuple(expected))
        assert info.pop("written") == written
        assert_same(info, told)
    info = blind.step(np.int64(eos_token))[4]
    assert "written" not in info
    assert blind.core.finished.all()


def test_every_episode_of_an_agent_that_only_ever_ends_comes_to_an_end() -> None:
    spec = TokenSpec(2, 5, eos_token=1, min_length=4)
    env = reset(TokenVectorEnv(2, reward_model(spec)))
    ends = [env.step(np.array([1, 1]))[2].tolist() for _ in range(10)]
    assert ends == ([[False, False]] * 4 + [[True, True]]) * 2


def test_play_refuses_an_end_that_is_masked() -> None:
    env = reset(TokenVectorEnv(2, reward_model(EOS)))
    tokens = torch.tensor([[1, 1, 0, 5, 5, 5], [1, 0, 5, 5, 5, 5]])
    with pytest.raises(ValueError, match="sequence 1 that play was given ends before 2 tokens"):
        env.play(tokens)


def test_the_reset_mask_resets_only_its_rows(spec: TokenSpec) -> None:
    env = reset(TokenVectorEnv(3, reward_model(spec)))
    env.step(np.array([1, 1, 1]))
    obs, _ = env.reset(options={"reset_mask": np.array([True, False, True])})
    assert (obs[:, 0] == [spec.pad_token, 1, spec.pad_token]).all()


BAD_ACTIONS = [
    (
        np.array([0, 9]),
        "env 1 was given token 9; the vocabulary is 0..2 and this env has written 0 of 3",
    ),
    (np.array([-1, 0]), "env 0 was given token -1"),
    (np.array([0.5, 1.0]), "actions have dtype float64; expected integers"),
    (np.array([0]), r"actions have shape \(1,\); expected \(2,\)"),
    (np.array([[0], [1]]), r"actions have shape \(2, 1\)"),
    (np.array([True, False]), "actions have dtype bool"),
    (np.array(["0", "1"]), "actions have dtype"),
]


@pytest.mark.parametrize(("actions", "message"), BAD_ACTIONS)
def test_bad_actions_are_refused_with_what_was_given_and_what_is_allowed_and_change_nothing(
    actions: np.ndarray, message: str
) -> None:
    env = reset(TokenVectorEnv(2, reward_model(FIXED)))
    with pytest.raises(gym.error.InvalidAction, match=message):
        env.step(actions)
    assert not env.core.lengths.any()


@pytest.mark.parametrize("action", [3, -1, 1.0, None, [1], "1", True])
def test_bad_actions_of_the_single_env_are_refused(action: Any) -> None:
    env = TokenEnv(reward_model(FIXED))
    env.reset(seed=0)
    with pytest.raises(gym.error.InvalidAction):
        env.step(action)


def test_stepping_before_the_first_reset_or_after_the_end_is_refused() -> None:
    env = TokenEnv(reward_model(FIXED))
    with pytest.raises(gym.error.ResetNeeded, match="call reset"):
        env.step(np.int64(0))
    env.reset()
    for _ in range(3):
        env.step(np.int64(0))
    with pytest.raises(gym.error.ResetNeeded, match="call reset"):
        env.step(np.int64(0))


def test_play_refuses_a_wrong_batch_and_a_begun_episode() -> None:
    with pytest.raises(gym.error.ResetNeeded, match="env 0 has no episode to write in"):
        TokenVectorEnv(2, reward_model(FIXED)).play(torch.zeros(2, 3, dtype=torch.int64))
    env = reset(TokenVectorEnv(2, reward_model(FIXED)))
    with pytest.raises(ValueError, match="3 sequences; this environment has 2"):
        env.play(torch.zeros(3, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"shape \(2, 2\); expected \(B, 3\)"):
        env.play(torch.zeros(2, 2, dtype=torch.int64))
    env.step(np.array([0, 0]))
    with pytest.raises(ValueError, match="beginning of an episode"):
        env.play(torch.zeros(2, 3, dtype=torch.int64))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_rollouts": 0}, "num_rollouts is 0; allowed is a whole number from 1"),
        ({"reward": "rolout"}, "Did you mean 'rollout'"),
        ({"source": "discriminater"}, "Did you mean 'discriminator'"),
        ({"sync_rate": 0.0}, "sync_rate is 0.0"),
        ({"score_as": "prob"}, "unknown score_as 'prob'"),
        ({"source": 3}, r"source is a int without score\(tokens\)"),
        ({"vocab_size": 1}, "vocab_size is 1"),
        ({"render_mode": "human"}, "render_mode is 'human'"),
        ({"discriminator": "large"}, "unknown discriminator 'large'"),
    ],
)
def test_bad_settings_are_refused_with_the_nearest_name(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        gym.make_vec("SeqGAN/Oracle-v0", num_envs=2, **settings)


@pytest.mark.parametrize("make", [gym.make, gym.make_vec])
def test_an_unknown_keyword_is_a_type_error_as_python_has_it_with_the_nearest_name(
    make: Callable[..., Any],
) -> None:
    with pytest.raises(
        TypeError, match=r"unexpected keyword argument 'vocabsize'.*mean 'vocab_size'"
    ):
        make("SeqGAN/Oracle-v0", vocabsize=5)
    # the words for which TorchRL's GymEnv looks
    with pytest.raises(TypeError, match="unexpected keyword argument 'frameskip'"):
        make("SeqGAN/Oracle-v0", frameskip=4)


def test_the_vector_env_says_its_autoreset_mode_as_gymnasiums_own_do() -> None:
    ours = gym.make_vec("SeqGAN/Oracle-v0", num_envs=2, rewards=reward_model(FIXED))
    theirs = gym.vector.SyncVectorEnv(
        [lambda: gym.make("SeqGAN/Oracle-v0", rewards=reward_model(FIXED))] * 2
    )
    assert isinstance(ours.unwrapped.autoreset_mode, type(theirs.autoreset_mode))  # type: ignore[attr-defined]
    assert ours.unwrapped.autoreset_mode is ours.metadata["autoreset_mode"]  # type: ignore[attr-defined]


def test_a_copied_environment_pays_by_the_same_models() -> None:
    model = reward_model(FIXED)
    env = gym.make("SeqGAN/Oracle-v0", rewards=model)
    assert env.spec is not None
    assert gym.make(env.spec).get_wrapper_attr("rewards") is model
    assert copy.deepcopy(env).get_wrapper_attr("rewards") is model
    assert isinstance(model, RewardModel)


def test_make_vec_is_native_and_renders_text() -> None:
    envs = gym.make_vec(
        "SeqGAN/Oracle-v0", num_envs=2, render_mode="ansi", **SMALL["SeqGAN/Oracle-v0"]
    )
    assert isinstance(envs, TokenVectorEnv)
    envs.reset(seed=0)
    envs.step(np.array([5, 3]))
    assert [text.split()[:2] for text in envs.render()] == [["[1/4]", "5"], ["[1/4]", "3"]]  # type: ignore[union-attr]
    assert all("value" in text and "reward" in text for text in envs.render())  # type: ignore[union-attr]
    assert seqgan_env.__version__


@pytest.mark.parametrize(("source", "low"), [("random", 0.0), ("noise", -1.0)])
def test_noise_has_its_range_and_mean(source: str, low: float) -> None:
    rewards = reset(TokenVectorEnv(2_000, reward_model(FIXED, source=source))).play(
        torch.zeros(2_000, 3, dtype=torch.int64)
    )
    assert low <= float(rewards.min()) < low + 0.01
    assert 0.99 < float(rewards.max()) < 1
    assert abs(float(rewards.mean()) - (low + 1) / 2) < 4 * (1 - low) / math.sqrt(12 * 6_000)


@pytest.mark.parametrize("source", ["random", "noise"])
def test_random_rewards_are_fresh_for_every_episode_and_repeat_with_the_seed(source: str) -> None:
    env = reset(TokenVectorEnv(3, reward_model(FIXED, source=source)))
    tokens = torch.zeros(3, 3, dtype=torch.int64)
    first, second = env.play(tokens), env.play(tokens)
    assert not torch.equal(first, second)
    assert len(set(first.flatten().tolist())) == 9
    assert torch.equal(reset(env).play(tokens), first)


def test_row_streams_of_the_wrong_length_are_refused() -> None:
    with pytest.raises(ValueError, match="streams for 2 rows; this batch has 3"):
        reward_model(FIXED).rewards(
            torch.zeros(3, 3, dtype=torch.int64), RowStreams(torch.arange(2))
        )
