"""Runs: what an agent is given, and what its tools, questions and sub-agents leave in the log."""
