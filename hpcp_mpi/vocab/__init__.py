"""Words that every room shares: options, jobs, units of work, outcomes, reports, paths. Imports nothing of ours."""
