"""Words every room shares: errors, options, units of work, counts, reports. Imports no other room."""
