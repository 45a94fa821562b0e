"""The trees with the recipe of the demo: nothing to change in a model's config."""

num_classes = 1
