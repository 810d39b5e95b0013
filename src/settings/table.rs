//! The README's table of settings; a test holds the two together.

use super::{ACCEPTED_GROUP, Change, Declaration, SETTINGS, declarations};

/// Writes the settings as a Markdown table, and those that change nothing as one paragraph below it.
pub fn readme_table() -> String {
    let mut text = String::from("| setting | default | values | what it does | CONFIG SET |\n|---|---|---|---|---|\n");
    for setting in SETTINGS {
        let default = if setting.default.is_empty() { String::new() } else { format!("`{}`", setting.default) };
        text.push_str(&format!(
            "| {} | {default} | {} | {} | {} |\n",
            names(setting),
            setting.kind.description(),
            setting.help.trim(),
            if setting.change == Change::Live { "yes" } else { "" },
        ));
    }
    text.push_str(&format!("\n{}\n", accepted_sentence("`")));
    text
}

/// Names the settings that change nothing, each between two `quote`s.
pub fn accepted_sentence(quote: &str) -> String {
    let names: Vec<String> = declarations()
        .filter(|setting| setting.group == ACCEPTED_GROUP)
        .flat_map(Declaration::names)
        .map(|name| format!("{quote}{name}{quote}"))
        .collect();
    format!("{ACCEPTED_GROUP}: {}.", names.join(", "))
}

fn names(setting: &Declaration) -> String {
    setting.names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
}
