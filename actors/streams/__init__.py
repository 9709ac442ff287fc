"""Delivery: the events of one session are numbered, kept in memory, committed, and read through cursors."""
