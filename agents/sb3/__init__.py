"""Stable-Baselines3 and sb3-contrib algorithms as agents: a native `VecEnv`, policies around the
language model, the agents.
"""
