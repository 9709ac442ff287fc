"""Several servers (nodes) as one: which node runs a user's sessions, and how nodes notice that another one is gone."""
