"""Actors by themselves: mailboxes, supervision and shutdown. Knows no session and no event."""
