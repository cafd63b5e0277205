"""Parts of the economic-recall audit; `byheart.audits.economic_recall` re-exports what is public."""
