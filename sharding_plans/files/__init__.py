"""Plans as files: layout, checks, conversion, tables to read."""
