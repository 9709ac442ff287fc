"""The wire protocol ``greenroom.v1``: frames, handshake, close codes and limits, without any input or output."""
