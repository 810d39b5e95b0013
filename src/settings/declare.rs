//! One declaration makes a setting: its typed field, and its row in the table that everything else is derived from.

use super::{Kind, Settings};

/// Whether CONFIG SET may change a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// While the server runs.
    Live,
    /// Only by a new start.
    Fixed,
}

/// One setting, as flags, environment, file, CONFIG, help and README see it.
pub struct Declaration {
    /// Redis' name where Redis has one. The flag is `--name`, the variable `MILLPOND_NAME`.
    pub name: &'static str,
    /// Older names that Redis still knows.
    pub older_names: &'static [&'static str],
    /// The heading under which `--help` shows it.
    pub group: &'static str,
    pub kind: Kind,
    pub default: &'static str,
    pub help: &'static str,
    pub change: Change,
    pub(super) get: fn(&Settings) -> String,
    /// Takes a text in the kind's canonical form.
    pub(super) set: fn(&mut Settings, &str),
}

impl Declaration {
    /// Gives the environment variable that sets it under one of its names.
    pub fn variable(name: &str) -> String {
        format!("{}{}", super::VARIABLE_PREFIX, name.to_ascii_uppercase().replace('-', "_"))
    }

    /// Tells whether this is one of the setting's names, in any letter case.
    pub fn is_called(&self, name: &str) -> bool {
        self.names().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// Gives its name, then its older ones.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.older_names.iter().copied())
    }
}

/// Gives every setting: first those that do something, then those that are only accepted.
pub fn declarations() -> impl Iterator<Item = &'static Declaration> {
    super::SETTINGS.iter().chain(super::accepted::ACCEPTED)
}

/// Finds a setting by its name or older name.
pub fn declared(name: &str) -> Option<&'static Declaration> {
    declarations().find(|declaration| declaration.is_called(name))
}

/// Declares `Settings` and `SETTINGS` at once. A line is
/// `/// help` `"name" | "older name" => field: type = "default", kind, Live or Fixed;`
macro_rules! settings {
    ($($group:literal {
        $( $(#[doc = $help:literal])+ $name:literal $(| $alias:literal)? => $field:ident: $type:ty = $default:literal, $kind:expr, $change:ident; )+
    })+) => {
        /// Everything that the server's owner can set, typed.
        #[derive(Clone)]
        pub struct Settings {
            $($( $(#[doc = $help])+ pub $field: $type, )+)+
            /// The sizes that are nobody's setting.
            pub limits: Limits,
            /// The configuration file that was read, if there is one; absolute.
            pub config_file: Option<PathBuf>,
            /// What was said for the settings that change nothing, so that CONFIG GET gives it back.
            accepted: BTreeMap<&'static str, String>,
        }

        impl Settings {
            /// Gives what holds when nobody sets anything.
            pub fn defaults(profile: Profile) -> Settings {
                let mut settings = Settings {
                    $($( $field: {
                        let text = $kind.canonical($default).expect(concat!("the default of ", $name, " is in its range"));
                        <$type as Value>::from_canonical(&text)
                    }, )+)+
                    limits: profile.limits(),
                    config_file: None,
                    accepted: accepted::defaults(),
                };
                settings.maxmemory_bytes = settings.limits.maxmemory_bytes;
                settings
            }
        }

        /// The settings that do something, in the order of `--help` and README.
        pub static SETTINGS: &[Declaration] = &[$($(
            Declaration {
                name: $name,
                older_names: &[$($alias)?],
                group: $group,
                kind: $kind,
                default: $default,
                help: concat!($($help),+),
                change: Change::$change,
                get: |settings| settings.$field.show(),
                set: |settings, text| settings.$field = <$type as Value>::from_canonical(text),
            },
        )+)+];
    };
}
pub(super) use settings;
