"""Small data sets that come out of published Python packages, one file each."""
