"""The link to a Valkey or Redis server, and the functions that run in it. Importing a module here needs the extra."""
