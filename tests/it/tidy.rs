//! What holds for the whole tree: who imports whom, how long a file may be, and that README's tables are true.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A longer file is more than one idea.
const FILE_LINES_MAX: usize = 900;

const LEAVES: &[&str] = &["clock", "glob", "logging", "metrics", "resp", "settings"];

/// Each part of the crate with the parts that it may name, leaves apart. What is not listed here is refused, so that a
/// new part is placed by somebody who has thought about it.
const LAYERS: &[(&str, &[&str])] = &[
    ("main", &["server", "shard", "command"]),
    ("server", &["shard"]),
    ("shard", &["command", "script", "session", "sched", "job", "keyspace", "log", "store"]),
    ("command", &["script", "session", "sched", "job", "keyspace", "log", "store"]),
    ("session", &[]),
    ("script", &[]),
    ("sched", &["job"]),
    ("job", &[]),
    ("keyspace", &["job", "log", "store"]),
    ("log", &[]),
    ("store", &[]),
];

/// The parts that know nothing of Redis, not even its replies.
const WITHOUT_REDIS: &[&str] = &["log", "store"];

/// Leaves that use another one, and nothing else does.
const LEAF_IMPORTS: &[(&str, &str)] = &[("logging", "settings")];

#[test]
fn every_part_imports_only_what_lies_below_it() {
    let mut wrong = Vec::new();
    for file in files("src", &["rs"]) {
        let part = part_of(&file);
        if part == "lib" {
            continue;
        }
        for imported in imports(&read(&file)) {
            if imported != part && !may_import(&part, &imported) {
                wrong.push(format!("{}: `{part}` may not know `{imported}`", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "see LAYERS in this test:\n{}", wrong.join("\n"));
}

#[test]
fn every_part_has_its_place_and_every_place_a_part() {
    let declared = read(&root().join("src/lib.rs"));
    let mut parts: Vec<&str> = declared.lines().filter_map(|line| line.strip_prefix("pub mod ")).collect();
    parts.iter_mut().for_each(|part| *part = part.trim_end_matches(';'));
    parts.push("main");
    parts.sort_unstable();
    let mut placed: Vec<&str> = LAYERS.iter().map(|(part, _)| *part).chain(LEAVES.iter().copied()).collect();
    placed.sort_unstable();
    assert_eq!(placed, parts, "see LAYERS and LEAVES in this test");
}

#[test]
fn no_file_is_over_the_length_limit() {
    let long: Vec<String> = ["src", "tests", "benches"]
        .iter()
        .flat_map(|folder| files(folder, &["rs"]))
        .map(|file| (read(&file).lines().count(), file))
        .filter(|(lines, _)| *lines > FILE_LINES_MAX)
        .map(|(lines, file)| format!("{}: {lines} lines", file.display()))
        .collect();
    assert!(long.is_empty(), "over {FILE_LINES_MAX} lines:\n{}", long.join("\n"));
}

#[test]
fn nothing_is_left_unfinished() {
    // Put together here, so that this file does not find itself.
    let marks = ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!("));
    refuse_in(&["src", "tests", "benches"], &["rs"], &marks);
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let mut marks: Vec<String> = ["home", "root", "Users"].iter().map(|name| format!("/{name}/")).collect();
    marks.push(env!("CARGO_MANIFEST_DIR").to_owned());
    let endings =
        ["rs", "md", "toml", "rb", "py", "sh", "yaml", "yml", "run", "both", "Dockerfile", "Gemfile", "Rakefile"];
    refuse_in(
        &["src", "tests", "benches", "compat", ".ci", "README.md", "CHANGELOG.md", "Dockerfile"],
        &endings,
        &marks,
    );
}

#[test]
fn the_readme_has_the_settings_and_commands_that_are_declared() {
    // One after the other, since both write the same file if asked to.
    check_generated("README.md", "settings", &millpond::settings::readme_table());
    check_generated("README.md", "commands", &millpond::command::documentation());
}

/// Compares what stands between two markers of a file with what it is made from, or writes it anew if asked to.
fn check_generated(file: &str, name: &str, generated: &str) {
    let path = root().join(file);
    let text = read(&path);
    let (begin, end) = (format!("<!-- {name}: begin -->\n"), format!("<!-- {name}: end -->"));
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("{file} has the marker {begin}"));
    let (old, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{file} has the marker {end}"));
    if old == generated {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_README").is_some(),
        "the table of {name} in {file} is not what is declared: run UPDATE_README=1 cargo test --test it tidy"
    );
    fs::write(&path, format!("{before}{begin}{generated}{end}{after}")).expect("the file can be written");
}

fn may_import(part: &str, imported: &str) -> bool {
    if LEAF_IMPORTS.contains(&(part, imported)) {
        return true;
    }
    let Some((_, below)) = LAYERS.iter().find(|(name, _)| *name == part) else {
        return false;
    };
    if WITHOUT_REDIS.contains(&part) && imported == "resp" {
        return false;
    }
    if LEAVES.contains(&imported) {
        return true;
    }
    below.contains(&imported)
}

/// Names the parts that a file's own code names, as `crate::part` or, in `main`, `millpond::part`.
fn imports(text: &str) -> Vec<String> {
    let mut found = BTreeMap::new();
    let code = without_tests_and_comments(text);
    for start in ["crate::", "millpond::"] {
        for (at, _) in code.match_indices(start) {
            let rest = &code[at + start.len()..];
            let names = match rest.strip_prefix('{') {
                Some(group) => first_segments(group),
                None => vec![word(rest)],
            };
            // An upper-case name is an item of the crate's root, such as a macro's type, and no part.
            names.into_iter().filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase())).for_each(|name| {
                found.insert(name, ());
            });
        }
    }
    found.into_keys().collect()
}

/// Reads the first name of every element of `a::b, c::{d, e}}`.
fn first_segments(group: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut depth = 0;
    let mut element = String::new();
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(word(&std::mem::take(&mut element))),
            _ if depth == 0 => element.push(c),
            _ => {}
        }
    }
    names.push(word(&element));
    names
}

fn word(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

/// Unit tests stand at the end of a file and may build what they need from anywhere.
fn without_tests_and_comments(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or(text);
    code.lines().map(|line| line.split("//").next().unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// Gives the part that a file of `src/` belongs to: its folder, or its own name.
fn part_of(file: &Path) -> String {
    let below = file.strip_prefix(root().join("src")).expect("it is a file of src");
    let first = below.components().next().expect("it has a name").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

fn refuse_in(folders: &[&str], endings: &[&str], marks: &[String]) {
    let mut found = Vec::new();
    for file in folders.iter().flat_map(|folder| files(folder, endings)) {
        for (number, line) in read(&file).lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark.as_str())) {
                found.push(format!("{}:{}: {line}", file.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "not to be committed:\n{}", found.join("\n"));
}

/// Lists the files at or below a path whose names end so, sorted; none if the path is not there.
fn files(below: &str, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(below)];
    while let Some(path) = open.pop() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !is_made_by_a_run(&name) {
            let entries = fs::read_dir(&path).expect("a folder of ours can be read");
            open.extend(entries.map(|entry| entry.expect("its entries too").path()));
        } else if path.is_file()
            && endings.iter().any(|ending| name == *ending || name.ends_with(&format!(".{ending}")))
        {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What installing and running leaves beside our files is not ours.
fn is_made_by_a_run(folder: &str) -> bool {
    ["target", "gems", "vendor", "node_modules", "tmp", ".bundle"].contains(&folder)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn imports_are_found_in_every_form() {
    let text = "use crate::log::Log;\nuse crate::{store::{A, B}, resp};\n// crate::server\nfn f() { crate::job::g() }\n\
                #[cfg(test)]\nmod tests { use crate::shard; }";
    assert_eq!(imports(text), ["job", "log", "resp", "store"]);
}

#[test]
fn a_wrong_import_would_be_noticed() {
    for (part, imported) in
        [("store", "keyspace"), ("log", "resp"), ("resp", "command"), ("server", "keyspace"), ("new", "log")]
    {
        assert!(!may_import(part, imported), "{part} must not know {imported}");
    }
    assert!(may_import("shard", "command") && may_import("server", "settings"));
}
