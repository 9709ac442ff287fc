"""Adapters: the protocols of other people's clients, over HTTP."""
