"""What every layer uses: errors, the registry, tree arithmetic, files."""
