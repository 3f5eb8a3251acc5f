"""The completion scripts that --print-completion prints, made from the parser's options: `scripts` chooses; a module
for each shell: `bash`, `zsh`, `fish`, `tcsh`; what they share: `values`."""
