"""Tasks: recipes that any process can carry out, and the executors that they are sent to."""
