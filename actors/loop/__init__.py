"""Tools below actors and sessions: the event loop's clock, threads, forked processes, trio's private names."""
