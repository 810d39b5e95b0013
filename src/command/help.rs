//! The HELP subcommand of a container: what its subcommands declare.

use crate::resp::Reply;

use super::{Outcome, table};

/// Answers a line of usage and a sentence for each subcommand.
pub fn help(container: &str) -> Outcome {
    let title = format!("{} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", container.to_uppercase());
    let subcommands = table().filter_map(|command| {
        let (parent, name) = command.parent()?;
        (parent == container).then(|| (format!("{} {}", name.to_uppercase(), command.syntax), command.summary))
    });
    let lines = subcommands.flat_map(|(usage, summary)| [usage.trim_end().to_owned(), format!("    {summary}")]);
    Ok(Reply::Array(std::iter::once(title).chain(lines).map(|line| Reply::Status(line.into())).collect()))
}
