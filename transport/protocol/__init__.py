"""The protocol ``greenroom.v1`` between client and server: frames, handshake, close codes and limits. Pure: no I/O."""
