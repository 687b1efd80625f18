"""What both wire formats share: parameters, tools, and members of the answer."""
