"""What the tasks share while running: runner, optimiser wrappers, hooks, CPU launch."""
