"""Parameters, bodies and answers that routes share."""
