"""Indoor 3-D detection; importing this package registers its parts."""
