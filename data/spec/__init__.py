"""The feature spec: which columns of a table are label, numbers and ids, and what becomes of them."""
