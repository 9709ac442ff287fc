"""Runs: the object that an agent works with, and the events of its tools, questions and sub-agents."""
