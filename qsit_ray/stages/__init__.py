"""pure: the stages of a run, one module each; each reads and writes files of the run folder."""
