//! `shroom completions SHELL`: a completion script on standard output.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::error::{CliError, Result};
use crate::output;

/// Print a completion script for a shell
///
/// For example: shroom completions bash > ~/.local/share/bash-completion/completions/shroom
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The shell to complete in
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    // Into memory first: the generator panics when its writer fails, and standard output may be a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut crate::Cli::command(),
        "shroom",
        &mut script,
    );
    let mut out = output::stdout();
    std::io::Write::write_all(&mut out, &script)
        .and_then(|()| std::io::Write::flush(&mut out))
        .map_err(CliError::output)
}
