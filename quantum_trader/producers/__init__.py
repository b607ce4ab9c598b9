"""Around the chain: signals become plans, exits are proposed. Producers write plans and nothing else."""
