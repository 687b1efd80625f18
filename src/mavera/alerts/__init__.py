"""Tell the operator of budgets, models and workers: what is found, stored once for all replicas, and sent."""
