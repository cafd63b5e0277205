"""Parts of `byheart.audits.pathways`."""
