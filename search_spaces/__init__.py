"""pure: one YAML file a search: axis, ratios, repeats, objective, coordinate."""
