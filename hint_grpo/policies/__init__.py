"""Hint policies: how many reasoning steps a prompt gets at this moment of a training.

base          what a policy is given and what it returns; the class to derive from
history       what is remembered of earlier steps, from the ledger's records
registry      the names of --hint_policy, and the user's own by path
paper         the paper's adaptive hints and its ablations
uft, questa, ghpo, g2rpo_a, seele, trapo    methods of the literature, with their equations (docs/hint_schedules.md compares them)
"""
