"""Custom operators: each file holds one op, its typed wrapper and its pure-torch reference."""
