"""Knights and knaves: grammar, solver, sampler, wording, scoring; `knights_and_knaves` exports."""
