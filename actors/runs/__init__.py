"""Runs: the object that an agent is given, and the events of its tools, questions and sub-agents."""
