"""Plans beside each other: reports, differences, gates."""
