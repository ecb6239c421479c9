"""Pure functions: all the mathematics of the package, shapes in every signature."""
