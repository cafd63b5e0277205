"""What all rooms share: models, asks, audits, findings, reports, statistics, errors, checks."""
