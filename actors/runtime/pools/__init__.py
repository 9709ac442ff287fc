"""Pools: several equal actors behind one handle, with a rule that routes each message to one of them."""
