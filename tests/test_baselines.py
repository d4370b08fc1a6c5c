"""The rows of the paper by name: what they learn from, what they never see, and which reward they
ask for.
"""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from agents.base import PolicyConfig
from agents.baselines import (
    MLE,
    SCHEDULES,
    PolicyGradientBLEU,
    ScheduledSampling,
    ScheduledSamplingConfig,
    SeqGAN,
    Uniform,
)
from seqgan_env.cli.main import main
from seqgan_env.envs.registration import build_rewards
from seqgan_env.envs.vector_env import TokenVectorEnv
from seqgan_env.generators.language_model import LSTMLanguageModel
from seqgan_env.generators.maximum_likelihood import MaximumLikelihood
from seqgan_env.metrics.ngram import BleuReferences
from seqgan_env.plugins import load_agent_class
from seqgan_env.rewards.model import RewardSettings
from seqgan_env.tasks.text.settings import CorpusSettings
from seqgan_env.tasks.text.task import CorpusTask
from seqgan_env.testing import check_agent
from seqgan_env.training.settings import settings_from
from seqgan_env.types import TokenSpec

from .conftest import EOS, FIXED, all_sequences, random_model, reward_model, rng

NAMES = ("random", "mle", "scheduled_sampling", "pg_bleu", "seqgan")
SMALL = PolicyConfig(embedding_dim=4, hidden_dim=4)
SMALL_RUN = [
    "--batch-size",
    "8",
    "--mle-epochs",
    "1",
    "--rounds",
    "2",
    "--num-negatives",
    "20",
    "--d-pretrain-epochs",
    "1",
]
SMALL_RUN += ["--num-rollouts", "1", "--no-knobs"]


def env_of(spec: TokenSpec, num_envs: int = 4) -> TokenVectorEnv:
    return TokenVectorEnv(num_envs, reward_model(spec))


def scheduled_sampling(spec: TokenSpec, **options: Any) -> ScheduledSampling:
    config = ScheduledSamplingConfig(embedding_dim=4, hidden_dim=4, **options)
    return ScheduledSampling(env_of(spec), seed=1, config=config)


def state_of(agent: MLE) -> Tensor:
    return torch.cat([parameter.flatten() for parameter in agent.policy.state_dict().values()])


# ---- random ----


def test_uniform_tokens_cost_log_v_each() -> None:
    policy = Uniform(env_of(FIXED)).policy
    assert policy.log_prob(all_sequences(FIXED)).tolist() == pytest.approx([-3 * math.log(3)] * 27)


def test_with_an_end_token_every_allowed_token_is_equally_likely() -> None:
    tokens = all_sequences(EOS)
    policy = Uniform(env_of(EOS)).policy
    allowed = [
        [4 if t < EOS.min_length else 5 for t in range(int(length))]
        for length in EOS.lengths(tokens)
    ]
    expected = [-sum(math.log(num) for num in row) for row in allowed]
    assert policy.log_prob(tokens).tolist() == pytest.approx(expected)
    assert float(policy.log_prob(tokens).double().exp().sum()) == pytest.approx(1, abs=1e-5)


def test_what_it_writes_is_uniform() -> None:
    policy = Uniform(env_of(FIXED)).policy
    samples = policy.sample(27_000, rng())
    counts = torch.bincount((samples * torch.tensor([9, 3, 1])).sum(1), minlength=27).double()
    chi_squared = float(((counts - 1000) ** 2 / 1000).sum())
    assert chi_squared < 54.05  # 26 degrees of freedom, p 0.001


def test_nothing_is_learned_from_data_or_rewards() -> None:
    agent = Uniform(env_of(FIXED))
    before = agent.policy.log_prob(all_sequences(FIXED))
    assert agent.pretrain(all_sequences(FIXED), 3) == {"mle_loss": pytest.approx(math.log(3))}
    assert agent.update() == {}
    assert torch.equal(agent.policy.log_prob(all_sequences(FIXED)), before)


# ---- maximum likelihood and scheduled sampling ----


def test_mle_is_the_pretraining_of_every_agent_and_no_more(spec: TokenSpec) -> None:
    data = random_model(spec, 3).sample(50, rng())
    agent = MLE(env_of(spec), seed=5, config=SMALL)
    plain = MLE(env_of(spec), seed=5, config=SMALL).policy
    order = torch.Generator().manual_seed(5)
    LSTMLanguageModel.initialised(spec, order, 4, 4)  # as the agent drew its weights
    agent.pretrain(data, 2)
    MaximumLikelihood(plain, order, 8e-2, learning_rate_decay=0.95, weight_decay=0.1).fit(data, 2)
    assert torch.equal(
        state_of(agent), torch.cat([p.flatten() for p in plain.state_dict().values()])
    )
    before = state_of(agent).clone()
    assert agent.update() == {}
    assert torch.equal(state_of(agent), before)


def test_scheduled_sampling_that_reads_only_real_words_is_mle(spec: TokenSpec) -> None:
    data = random_model(spec, 3).sample(100, rng())
    agents = [
        MLE(env_of(spec), seed=1, config=SMALL),
        scheduled_sampling(spec, least_real=1.0),
    ]
    for agent in agents:
        agent.pretrain(data, 3)
    assert torch.equal(state_of(agents[0]), state_of(agents[1]))


def test_scheduled_sampling_that_reads_its_own_words_is_not(spec: TokenSpec) -> None:
    data = random_model(spec, 3).sample(100, rng())
    agents = [MLE(env_of(spec), seed=1, config=SMALL), scheduled_sampling(spec)]
    for agent in agents:
        agent.pretrain(data, 3)
    assert not torch.equal(state_of(agents[0]), state_of(agents[1]))


def test_what_is_read_is_the_real_word_or_one_that_was_drawn_at_the_share_of_the_schedule(
    spec: TokenSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = scheduled_sampling(spec, least_real=0.7, schedule_epochs=1, schedule="linear")
    agent.epoch = 1
    assert agent.share_real == 0.7
    first = 0 if spec.eos_token is None else 1  # never drawn: the end
    data = torch.full((4_000, spec.seq_len), first)
    read = agent._mix(data)
    assert torch.equal(read[:, 0], agent.policy.inputs(data)[:, 0])
    assert int(read.max()) < spec.vocab_size
    if spec.eos_token is not None:
        assert not (read[:, 1:] == spec.eos_token).any()
    probability = _probability_of(agent, first)
    share = float((read[:, 1] == first).double().mean())
    expected = 0.7 + 0.3 * probability
    assert abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / 4_000)


def _probability_of(agent: ScheduledSampling, token: int) -> float:
    """Of a first token, among those that are not the end."""
    spec = agent.policy.spec
    tokens = torch.full((spec.vocab_size, spec.seq_len), spec.pad_token)
    tokens[:, 0] = torch.arange(spec.vocab_size)
    probabilities = agent.policy.token_log_probs(tokens)[:, 0].double().exp()
    if spec.eos_token is not None:
        probabilities[spec.eos_token] = 0
    return float(probabilities[token] / probabilities.sum())


@settings(max_examples=50, deadline=None)
@given(st.floats(1.5, 50), st.floats(0, 1), st.floats(0, 1))
def test_schedules_fall_from_nearly_all_real_words_to_hardly_any(
    steepness: float, a: float, b: float
) -> None:
    early, late = min(a, b), max(a, b)
    for name, value in {"inverse_sigmoid": steepness, "linear": 1.0}.items():
        schedule = SCHEDULES[name]
        assert 1 >= schedule(early, value) >= schedule(late, value) >= 0
    # Bengio et al. 2015: k / (k + exp(i / k)), with i such that half are real in the middle, exp(i
    # / k) = k there
    i = 2 * early * steepness * math.log(steepness)
    assert SCHEDULES["inverse_sigmoid"](early, steepness) == pytest.approx(
        steepness / (steepness + math.exp(i / steepness))
    )
    assert SCHEDULES["inverse_sigmoid"](0.5, steepness) == pytest.approx(0.5)
    assert SCHEDULES["linear"](early, 1.0) == pytest.approx(1 - early)


def test_the_schedule_runs_over_its_epochs_and_stays_at_its_end() -> None:
    agent = scheduled_sampling(FIXED, schedule="linear", schedule_epochs=5)
    data = random_model(FIXED).sample(20, rng())
    assert [agent.pretrain(data, 1)["share_real"] for _ in range(7)] == pytest.approx(
        [1, 0.75, 0.5, 0.25, 0, 0, 0]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"schedule": "liner"},
            "unknown schedule 'liner'; allowed are inverse_sigmoid, linear. Did you mean 'linear'",
        ),
        ({"steepness": 1.0}, "steepness is 1.0; allowed is above 1 for inverse_sigmoid"),
        ({"schedule": "linear", "steepness": 0}, "steepness is 0; .* above 0 for linear"),
        ({"schedule_epochs": 0}, "schedule_epochs is 0; allowed is 1 or more"),
        ({"least_real": 1.1}, r"least_real is 1.1; allowed is 0\.\.1"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScheduledSamplingConfig(**options)


# ---- settings ----


def test_the_schedule_follows_the_epochs_of_the_run_unless_it_is_given() -> None:
    def epochs(**changes: Any) -> int:
        chosen: int = settings_from(
            "tiny", {"agent": "scheduled_sampling"} | changes
        ).agent_options["schedule_epochs"]
        return chosen

    assert epochs() == settings_from("tiny", {}).mle_epochs
    assert epochs(mle_epochs=7) == 7
    assert epochs(mle_epochs=7, agent_options={"schedule_epochs": 3}) == 3


def test_an_agent_asks_for_its_reward_and_the_user_decides() -> None:
    assert settings_from("tiny", {}).source == "discriminator"
    assert settings_from("tiny", {"agent": "pg_bleu"}).source == "bleu"
    assert settings_from("tiny", {"agent": "pg_bleu", "source": "constant"}).source == "constant"
    seqgan = settings_from("tiny", {"agent": "seqgan"})
    assert (seqgan.score_as, seqgan.agent_options["baseline"]) == ("probability", "none")
    other = settings_from(
        "tiny", {"agent": "seqgan", "score_as": "logit", "agent_options": {"baseline": "value"}}
    )
    assert (other.score_as, other.agent_options["baseline"]) == ("logit", "value")


def test_the_paper_preset_keeps_its_learning_rate_for_every_agent_that_has_one() -> None:
    adam_at_a_constant_rate = {
        "mle_learning_rate": 1e-2,
        "mle_learning_rate_decay": 1.0,
        "mle_weight_decay": 0.0,
    }
    of_paper = {"learning_rate": 1e-2, "baseline": "none"} | adam_at_a_constant_rate
    assert settings_from("paper", {"agent": "pg_bleu"}).agent_options == of_paper
    assert settings_from("paper", {"agent": "mle"}).agent_options == adam_at_a_constant_rate
    assert settings_from("paper", {"agent": "random"}).agent_options == {}


# ---- rewards and runs ----


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    words = [f"{a} {b} {c}" for a in "abcd" for b in "efg" for c in "hij"]
    (tmp_path / "corpus.txt").write_text("\n".join(words))
    return str(tmp_path / "corpus.txt")


def test_pg_bleu_is_paid_the_bleu_of_what_it_wrote(corpus: str) -> None:
    task = CorpusTask(CorpusSettings(corpus=corpus, max_length=6))
    assert issubclass(PolicyGradientBLEU, load_agent_class("reinforce"))
    assert PolicyGradientBLEU.training_settings["source"] == "bleu"
    rewards = build_rewards(task, RewardSettings(source="bleu", num_rollouts=2))
    tokens = random_model(task.spec).sample(30, rng())
    last = rewards.rewards(tokens, rng())[torch.arange(30), task.spec.lengths(tokens) - 1]
    expected = BleuReferences(task.real_sequences.numpy(), task.spec, 3).sentence_scores(
        tokens.numpy()
    )
    assert last.tolist() == pytest.approx(expected.tolist(), abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_every_row_of_the_paper_is_an_agent(name: str) -> None:
    check_agent(load_agent_class(name))
    assert load_agent_class(name) in (Uniform, MLE, ScheduledSampling, PolicyGradientBLEU, SeqGAN)


@pytest.mark.parametrize("name", NAMES)
def test_every_row_of_the_paper_runs_on_text(
    name: str, corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert (
        main(
            [
                "train",
                "--task",
                "text",
                "--corpus",
                corpus,
                "--agent",
                name,
                "--out",
                str(out),
                *SMALL_RUN,
            ]
        )
        == 0
    )
    result = json.loads((out / "result.json").read_text())
    learns = name in ("pg_bleu", "seqgan")
    assert ("constant" in result, "mle" in result) == (learns, learns)
    assert ("adversarial" in result["seconds"]) == learns
    assert {"bleu4", "nll_gen", "distinct2"} <= set(result["agent"])
    assert main(["sample", str(out), "--num", "3"]) == 0
    assert len(capsys.readouterr().out.splitlines()) >= 3
