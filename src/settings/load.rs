//! Where settings come from: flags, the environment, a configuration file. The later source wins.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, value_parser};

use super::{ACCEPTED_GROUP, Declaration, Kind, Profile, Settings, VARIABLE_PREFIX, declarations, declared};

/// A source said something that cannot be; the text names the setting and the source.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("bad setting '{name}' ({origin}): {reason}")]
    Bad { name: String, origin: Origin, reason: String },
    #[error("unknown setting '{name}' ({origin})")]
    Unknown { name: String, origin: Origin },
    #[error("cannot read the configuration file {path}: {reason}")]
    File { path: String, reason: String },
}

/// Our tests' own variables, which a server that they start inherits.
const TEST_PREFIX: &str = "MILLPOND_TEST_";

/// Who said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    File(PathBuf),
    Variable(String),
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => write!(formatter, "by default"),
            Origin::File(path) => write!(formatter, "in {}", path.display()),
            Origin::Variable(variable) => write!(formatter, "in {variable}"),
            Origin::Flag => write!(formatter, "on the command line"),
        }
    }
}

/// Makes the command line's arguments: `--config`, one for every setting, and the hidden `--profile`.
pub fn arguments() -> Vec<Arg> {
    let mut arguments =
        vec![config_argument(), Arg::new("profile").long("profile").hide(true).value_parser(Profile::NAMES)];
    arguments.extend(declarations().map(argument));
    arguments
}

/// Makes `--config`.
pub fn config_argument() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("PATH")
        .value_parser(value_parser!(PathBuf))
        .help("Configuration file in TOML, with the settings' names as keys")
}

/// Makes the flag of one setting. Its text is checked in `load`, so that every source is refused with the same words.
///
/// Flags that change nothing are hidden: `--help` names them in one sentence at its end.
pub fn argument(setting: &Declaration) -> Arg {
    let mut help = setting.help.trim().trim_end_matches('.').to_owned();
    if let Kind::Choice(words) = setting.kind {
        help.push_str(&format!(" [one of: {}]", words.join(", ")));
    }
    if !setting.default.is_empty() {
        help.push_str(&format!(" [default: {}]", setting.default));
    }
    let argument = Arg::new(setting.name)
        .long(setting.name)
        .value_name(setting.kind.value_name())
        .help_heading(setting.group)
        .help(help)
        .hide(setting.group == ACCEPTED_GROUP);
    let argument = match setting.kind {
        Kind::Words => argument.num_args(1..),
        Kind::Integer { .. } | Kind::Bytes { .. } => argument.allow_negative_numbers(true),
        Kind::Secret => argument.allow_hyphen_values(true),
        Kind::YesNo => argument.num_args(0..=1).default_missing_value("yes"),
        _ => argument,
    };
    argument.visible_aliases(setting.older_names)
}

impl Settings {
    /// Puts the sources together: defaults, then the file, then the environment, then the flags.
    pub fn load(
        flags: &ArgMatches,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Settings, SettingsError> {
        let mut environment = our_variables(environment)?;
        let config_variable = environment.remove(&Declaration::variable("config")).map(PathBuf::from);
        let file = flag::<PathBuf>(flags, "config").or(config_variable);
        let profile = flag::<String>(flags, "profile").and_then(|name| Profile::from_name(&name)).unwrap_or_default();

        let mut loading = Loading { settings: Settings::defaults(profile), origins: BTreeMap::new() };
        if let Some(path) = &file {
            loading.file(path)?;
            // It was just read there; where the working directory cannot be told, the path as given says more than none.
            loading.settings.config_file = Some(std::path::absolute(path).unwrap_or_else(|_| path.clone()));
        }
        loading.environment(environment)?;
        loading.flags(flags)?;
        loading.finish()
    }
}

struct Loading {
    settings: Settings,
    /// Who set what last, so that a refusal of the whole names the source too.
    origins: BTreeMap<&'static str, Origin>,
}

impl Loading {
    fn file(&mut self, path: &Path) -> Result<(), SettingsError> {
        let unreadable = |reason: String| SettingsError::File { path: path.display().to_string(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| unreadable(error.to_string()))?;
        for (name, value) in table {
            let origin = Origin::File(path.to_owned());
            let text = text_of(value).map_err(|reason| SettingsError::Bad {
                name: name.clone(),
                origin: origin.clone(),
                reason: reason.to_owned(),
            })?;
            self.set(&name, &text, origin)?;
        }
        Ok(())
    }

    fn environment(&mut self, variables: BTreeMap<String, String>) -> Result<(), SettingsError> {
        for (variable, text) in variables {
            let name = variable[VARIABLE_PREFIX.len()..].to_ascii_lowercase().replace('_', "-");
            self.set(&name, &text, Origin::Variable(variable))?;
        }
        Ok(())
    }

    fn flags(&mut self, flags: &ArgMatches) -> Result<(), SettingsError> {
        for setting in declarations() {
            // `ping` has only some of the flags, so one that is not there is no mistake.
            if let Ok(Some(values)) = flags.try_get_many::<String>(setting.name) {
                let words: Vec<&str> = values.map(String::as_str).collect();
                self.set(setting.name, &words.join(" "), Origin::Flag)?;
            }
        }
        Ok(())
    }

    fn set(&mut self, name: &str, text: &str, origin: Origin) -> Result<(), SettingsError> {
        let Some(setting) = declared(name) else {
            return Err(SettingsError::Unknown { name: name.to_owned(), origin });
        };
        match setting.kind.canonical(text) {
            Ok(text) => (setting.set)(&mut self.settings, &text),
            Err(reason) => return Err(SettingsError::Bad { name: name.to_owned(), origin, reason }),
        }
        self.origins.insert(setting.name, origin);
        Ok(())
    }

    fn finish(self) -> Result<Settings, SettingsError> {
        self.settings.check().map_err(|refusal| SettingsError::Bad {
            name: refusal.name.to_owned(),
            origin: self.origins.get(refusal.name).cloned().unwrap_or(Origin::Default),
            reason: refusal.reason,
        })?;
        Ok(self.settings)
    }
}

fn flag<T: Clone + Send + Sync + 'static>(flags: &ArgMatches, name: &str) -> Option<T> {
    flags.try_get_one::<T>(name).ok().flatten().cloned()
}

/// Takes the variables that are ours. Every unknown one is an error, since it is most likely a misspelt setting.
fn our_variables(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, String>, SettingsError> {
    let mut ours = BTreeMap::new();
    for (variable, value) in environment {
        let Some(variable) = variable.to_str().filter(|variable| variable.starts_with(VARIABLE_PREFIX)) else {
            continue;
        };
        let variable = variable.to_owned();
        let value = value.into_string().map_err(|_| SettingsError::Bad {
            name: variable[VARIABLE_PREFIX.len()..].to_ascii_lowercase().replace('_', "-"),
            origin: Origin::Variable(variable.clone()),
            reason: "argument must be UTF-8 text".to_owned(),
        })?;
        if !is_of_a_service(&variable, &value) && !variable.starts_with(TEST_PREFIX) {
            ours.insert(variable, value);
        }
    }
    Ok(ours)
}

/// Tells whether Kubernetes made the variable: beside a service named `millpond` every container gets
/// `MILLPOND_SERVICE_HOST`, `MILLPOND_PORT=tcp://…` and `MILLPOND_PORT_6379_TCP_ADDR`, which nobody meant as settings.
fn is_of_a_service(variable: &str, value: &str) -> bool {
    let rest = &variable[VARIABLE_PREFIX.len()..];
    rest.starts_with("SERVICE_") || rest.starts_with("PORT_") || (rest == "PORT" && value.contains("://"))
}

fn text_of(value: toml::Value) -> Result<String, &'static str> {
    match value {
        toml::Value::String(text) => Ok(text),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Boolean(yes) => Ok(if yes { "yes" } else { "no" }.to_owned()),
        toml::Value::Array(values) => {
            let words: Result<Vec<String>, _> = values.into_iter().map(text_of).collect();
            Ok(words?.join(" "))
        }
        _ => Err("a value is a text, an integer, true or false, or an array of these"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::Command;

    use super::*;

    fn load(flags: &[&str], variables: &[(&str, &str)]) -> Result<Settings, String> {
        let command = Command::new("millpond").no_binary_name(true).args_override_self(true).args(arguments());
        let matches = command.try_get_matches_from(flags).map_err(|error| error.to_string())?;
        let environment = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Settings::load(&matches, environment).map_err(|error| error.to_string())
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
        file.write_all(text.as_bytes()).expect("it can be written");
        file
    }

    #[test]
    fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
        let file = file("port = 1\ndatabases = 2\nmaxclients = 3\nappendonly = true\nbind = ['::1', '127.0.0.1']\n");
        let path = file.path().to_str().expect("a temporary path is text");
        let settings =
            load(&["--config", path, "--port", "10"], &[("MILLPOND_PORT", "20"), ("MILLPOND_DATABASES", "21")])
                .expect("all are good");
        assert_eq!((settings.port, settings.databases, settings.maxclients), (10, 21, 3));
        assert_eq!(settings.bind, ["::1", "127.0.0.1"]);
        assert_eq!(settings.tcp_backlog, 511);
    }

    #[test]
    fn the_file_can_be_named_by_the_environment() {
        let file = file("port = 1234\n");
        let path = file.path().to_str().expect("a temporary path is text");
        let settings = load(&[], &[("MILLPOND_CONFIG", path)]).expect("it is read");
        assert_eq!(settings.port, 1234);
        assert_eq!(settings.config_file.as_deref(), Some(file.path()));
    }

    #[test]
    fn what_redis_is_started_with_is_taken() {
        let flags = ["--save", "", "--appendonly", "yes", "--bind", "127.0.0.1", "::1", "--maxmemory", "64mb"];
        let settings = load(&flags, &[]).expect("all are good");
        assert_eq!(settings.bind.len(), 2);
        assert_eq!(settings.maxmemory_bytes, 64 << 20);
        load(&["--save", "3600", "1", "300", "100", "--port", "1"], &[]).expect("save takes words");
        load(&["--list-max-ziplist-size", "-2", "--slowlog-log-slower-than", "-1"], &[]).expect("negative numbers too");
    }

    #[test]
    fn the_last_of_two_flags_wins() {
        assert_eq!(load(&["--port", "1", "--port", "2"], &[]).expect("both are good").port, 2);
    }

    #[test]
    fn an_error_names_the_setting_and_its_source() {
        let check = |flags: &[&str], variables: &[(&str, &str)], parts: &[&str]| {
            let error = load(flags, variables).expect_err("it is bad");
            for part in parts {
                assert!(error.contains(part), "{error:?} has {part:?}");
            }
        };
        check(&["--port", "70000"], &[], &["'port'", "command line", "between 0 and 65535"]);
        check(&["--prot", "1"], &[], &["--prot", "--port"]);
        check(&[], &[("MILLPOND_APPENDFSYNC", "sometimes")], &["'appendfsync'", "MILLPOND_APPENDFSYNC", "everysec"]);
        check(&[], &[("MILLPOND_PROT", "1")], &["unknown setting 'prot'", "MILLPOND_PROT"]);
        check(&["--maxmemory", "1mb"], &[], &["'maxmemory'", "command line", "33554432"]);
        check(&["--port", "0"], &[], &["'port'", "unixsocket"]);
        check(&["--config", "/nowhere/millpond.toml"], &[], &["/nowhere/millpond.toml"]);
        for (text, part) in [
            ("prot = 1", "unknown setting 'prot'"),
            ("timeout = 'soon'", "bad setting 'timeout'"),
            ("timeout = 1.5", "bad setting 'timeout'"),
            ("[server]\nport = 1", "'server'"),
            ("port = ", "cannot read"),
        ] {
            let file = file(text);
            let path = file.path().to_str().expect("a temporary path is text");
            check(&["--config", path], &[], &[path, part]);
        }
    }

    #[test]
    fn variables_of_kubernetes_and_of_our_tests_are_not_settings() {
        let variables = [
            ("MILLPOND_TEST_SEED", "7"),
            ("MILLPOND_PORT", "tcp://10.0.0.1:6379"),
            ("MILLPOND_SERVICE_HOST", "10.0.0.1"),
            ("MILLPOND_PORT_6379_TCP_ADDR", "10.0.0.1"),
            ("OTHER", "x"),
        ];
        assert_eq!(load(&[], &variables).expect("they are passed over").port, 6379);
        for name in declarations().flat_map(Declaration::names) {
            assert!(!is_of_a_service(&Declaration::variable(name), ""), "{name} could not be set by its variable");
        }
    }

    #[test]
    fn the_tiny_profile_takes_a_tiny_maxmemory() {
        let settings = load(&["--profile", "tiny", "--maxmemory", "1mb"], &[]).expect("it fits the profile");
        assert_eq!(settings.limits.chunk_bytes, 512);
    }
}
