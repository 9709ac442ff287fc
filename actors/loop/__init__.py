"""The base for actors and sessions in trio and the process: clock, threads, forks, trio's private names."""
