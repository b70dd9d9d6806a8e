"""pure: the typed, frozen, strict configuration, its presets, and YAML in and out."""
