"""Results of suites as one HTML file: a matrix whose fields open."""
