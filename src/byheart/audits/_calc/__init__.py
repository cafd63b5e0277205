"""Parts of `byheart.audits.random_calculation`: one subject a file."""
