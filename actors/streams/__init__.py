"""Delivery: numbering, keeping in memory, committing, and handing on the events of one session."""
