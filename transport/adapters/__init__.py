"""Sessions over plain HTTP, for clients that have no WebSocket, and for those of other people, with other protocols.

A format turns the frames of ``greenroom.v1`` into the bytes of a response. The rest is common: a stream is a connection
of :mod:`transport.server` like each other one, with its limits, its end and its place in the statistics.
"""
