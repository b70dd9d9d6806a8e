"""pure: one module a benchmark; each turns predictions into a table's figures with intervals."""
