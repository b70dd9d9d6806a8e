"""pure: the benchmark LLDescribe: a judge over HTTP compares descriptions with golden ones."""
