"""pure: formats in, catalog out; photographs, questions and encoded rows."""
