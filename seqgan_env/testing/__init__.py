"""Checkers for what others bring: an agent, a policy, a score source, a discriminator, a knob, a
task, a metric, a tracker, and (Gymnasium has one for single environments only) a vector
environment.

Each raises an AssertionError whose one sentence says what was found and what is expected.
"""

from seqgan_env.testing.agent import check_agent
from seqgan_env.testing.discriminator import check_discriminator
from seqgan_env.testing.knob import check_knob
from seqgan_env.testing.metric import check_metric
from seqgan_env.testing.policy import check_policy
from seqgan_env.testing.scorer import check_scorer
from seqgan_env.testing.task import check_task
from seqgan_env.testing.tracker import check_tracker
from seqgan_env.testing.vector_env import check_vector_env

__all__ = [
    "check_agent",
    "check_discriminator",
    "check_knob",
    "check_metric",
    "check_policy",
    "check_scorer",
    "check_task",
    "check_tracker",
    "check_vector_env",
]
