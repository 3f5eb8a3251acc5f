"""Rank 0, before anything starts: what was meant, and is it safe?

`copy_job` makes the job of a copy, `places` says what is named, `arguments` paths of the command line,
`removal_checks` what mirrors and moves must not remove, `same_tree` whether a source is the destination, `own_files`
what the run itself writes, `effective_options` options that agree with each other (pure), `find_abilities` what the
file systems can do, `preflight` what will go wrong, `space_watch` whether there is room, `tools` the programs that
are called. No kind of work.
"""
