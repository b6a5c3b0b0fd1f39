"""The parts that every layer uses: errors, the registry, tree arithmetic, files."""
