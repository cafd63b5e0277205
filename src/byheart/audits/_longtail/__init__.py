"""Parts of `byheart.audits.long_tail`: priors, costs, simulation; estimators and their runs."""
