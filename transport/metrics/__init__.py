"""Metrics for Prometheus, read from statistics at each scrape. Only :mod:`.collector` needs the extra ``metrics``."""
