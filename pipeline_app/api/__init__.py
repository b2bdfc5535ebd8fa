"""The REST API of observations, products, calibrations and sources."""
