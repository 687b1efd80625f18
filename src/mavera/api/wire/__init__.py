"""The parts that both wire formats share: parameters, tools, and members of responses."""
