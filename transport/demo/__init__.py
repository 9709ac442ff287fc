"""The built-in agent, *ask the standard library*: what ``greenroom demo`` serves. It uses the public API only."""
