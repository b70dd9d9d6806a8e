"""pure: one self-contained page that shows what a run found, and what it cost."""
