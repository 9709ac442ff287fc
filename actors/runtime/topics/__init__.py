"""Events between actors: a bus with subscribers, each with a bounded buffer of its own."""
