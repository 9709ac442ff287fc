"""The built-in agent of ``greenroom demo``: *ask the standard library*. It uses the public API only."""
