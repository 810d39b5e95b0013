//! What the README and the tests are told of the commands, made from their declarations.

use serde_json::json;

use crate::resp::split_words;

use super::{Command, Group, table};

/// The groups in the order in which a reader looks for them.
const CHAPTERS: &[(Group, &str)] = &[
    (Group::List, "Lists"),
    (Group::Generic, "Keys"),
    (Group::String, "Strings"),
    (Group::Bitmap, "Bitmaps"),
    (Group::Hash, "Hashes"),
    (Group::Set, "Sets"),
    (Group::SortedSet, "Sorted sets"),
    (Group::Stream, "Streams"),
    (Group::Job, "Jobs"),
    (Group::Transactions, "Transactions"),
    (Group::Scripting, "Scripts"),
    (Group::PubSub, "Publish and subscribe"),
    (Group::Connection, "Connections"),
    (Group::Server, "Server"),
];

/// Writes all commands as Markdown, a table for each group.
pub fn documentation() -> String {
    let chapters = CHAPTERS.iter().filter_map(|(group, title)| chapter(*group, title));
    chapters.collect::<Vec<_>>().join("\n")
}

fn chapter(group: Group, title: &str) -> Option<String> {
    let is_container = |name| table().any(|other| other.parent().is_some_and(|(parent, _)| parent == name));
    let rows: String = table()
        .filter(|command| command.group == group)
        // COMMAND can stand alone; the other containers cannot.
        .filter(|command| !is_container(command.name) || command.arity() == -1)
        .map(row)
        .collect();
    (!rows.is_empty()).then(|| format!("**{title}**\n\n| command | arguments | what it does |\n|---|---|---|\n{rows}"))
}

fn row(command: &Command) -> String {
    let name = spoken_name(command);
    let syntax = if command.syntax.is_empty() { String::new() } else { format!("`{}`", command.syntax) };
    format!("| `{name}` | {} | {} |\n", syntax.replace('|', "\\|"), command.summary)
}

/// As a person writes it: `CLIENT ID`.
fn spoken_name(command: &Command) -> String {
    command.name.to_uppercase().replace('|', " ")
}

/// Writes every example as a line of JSON, in the order of the commands and of their lines.
pub fn examples() -> String {
    let lines = table().flat_map(|command| command.examples.iter().map(move |line| example(command, line)));
    lines.map(|line| line + "\n").collect()
}

fn example(command: &Command, line: &str) -> String {
    let words = split_words(line.as_bytes()).expect("the quotes of an example are balanced");
    let words: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word)).collect();
    json!({ "command": command.name, "send": words }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Stop;
    use crate::command::testing::Bench;

    #[test]
    fn every_command_says_what_it_is() {
        for command in table() {
            let name = command.name;
            assert!(!command.examples.is_empty(), "{name}: no example");
            assert!(command.summary.ends_with('.'), "{name}: its summary is a sentence");
            assert!(!command.complexity.is_empty() && command.since.split('.').count() == 3, "{name}");
            assert!(CHAPTERS.iter().any(|(group, _)| *group == command.group), "{name}: its group has no chapter");
            assert!(
                command.parent().is_none_or(|(parent, _)| table().any(|other| other.name == parent)),
                "{name}: its container is not declared"
            );
        }
    }

    #[test]
    fn an_example_is_text_as_json_needs_it() {
        for command in table() {
            for line in command.examples {
                let words = split_words(line.as_bytes()).unwrap_or_else(|| panic!("{line}: unbalanced quotes"));
                assert!(words.iter().all(|word| std::str::from_utf8(word).is_ok()), "{line}: not UTF-8");
            }
        }
    }

    #[test]
    fn every_command_is_in_an_example_of_its_own() {
        for command in table() {
            let words = spoken_name(command);
            let is_own = |line: &&str| line.to_uppercase().starts_with(&words);
            assert!(command.examples.iter().any(is_own), "{}", command.name);
        }
    }

    #[test]
    fn every_example_ends_in_a_reply_an_error_or_a_wait() {
        for command in table() {
            let mut bench = Bench::default();
            for line in command.examples {
                match bench.outcome(line) {
                    Ok(_) | Err(Stop::Error(_) | Stop::Wait(_)) => {}
                    Err(stop) => panic!("{line}: {stop:?}"),
                }
            }
        }
    }

    #[test]
    fn the_tables_have_every_command_once() {
        let text = documentation();
        assert!(text.contains("| `CLIENT ID` |  | Returns the unique client ID of the connection. |\n"), "{text}");
        assert!(text.contains("| `LMOVE` | `source destination <LEFT \\| RIGHT> <LEFT \\| RIGHT>` |"), "{text}");
        assert!(!text.contains("| `CLIENT` |"));
        assert_eq!(text.matches("| `COMMAND` |").count(), 1);
    }

    #[test]
    fn an_example_is_a_line_of_words() {
        assert!(examples().contains("{\"command\":\"client|id\",\"send\":[\"CLIENT\",\"ID\"]}\n"));
    }
}
