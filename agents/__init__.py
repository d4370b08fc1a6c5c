"""The reference agents, plug-ins like anyone's: they reach the library through the entry-point
group `seqgan_env.agents`.
"""
