"""What plans really cost: measurements as plain data, and the file that keeps them."""
