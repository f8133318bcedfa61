"""From a table that nobody described to a proposed feature spec."""
