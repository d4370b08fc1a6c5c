"""The Gymnasium environments: dynamics, single and vector face, online mode, and their ids."""
