"""What is measured on a network, one file per kind of measurement."""
