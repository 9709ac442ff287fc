"""What actors and sessions need of trio and of the process: the clock, threads, forks, and trio's private names."""
