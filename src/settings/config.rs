//! CONFIG GET and CONFIG SET over the declarations, with Redis' error texts.

use super::{Change, Declaration, Settings, declarations, declared};

impl Settings {
    /// Gives names and values of the settings whose name, or older name, is wanted. The caller knows globs.
    pub fn matching(&self, mut wanted: impl FnMut(&str) -> bool) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        for setting in declarations() {
            for name in setting.names().filter(|name| wanted(name)) {
                found.push((name, (setting.get)(self)));
            }
        }
        found
    }

    /// Sets all pairs or none, and gives the settings' names; an error is the whole line, code included.
    pub fn config_set(&mut self, pairs: &[(&[u8], &[u8])]) -> Result<Vec<&'static str>, String> {
        let changes = changes(pairs)?;
        let mut changed = self.clone();
        for (given, setting, value) in &changes {
            let text = std::str::from_utf8(value).map_err(|_| failed(given, "argument must be UTF-8 text"))?;
            let text = setting.kind.canonical(text).map_err(|reason| failed(given, &reason))?;
            (setting.set)(&mut changed, &text);
        }
        changed.check().map_err(|refusal| failed(refusal.name, &refusal.reason))?;
        *self = changed;
        Ok(changes.iter().map(|(_, setting, _)| setting.name).collect())
    }
}

type NamedChange<'a> = (String, &'static Declaration, &'a [u8]);

/// Looks all names up. An unknown one is told of first, wherever it stands, as Redis does.
fn changes<'a>(pairs: &[(&[u8], &'a [u8])]) -> Result<Vec<NamedChange<'a>>, String> {
    let mut changes: Vec<NamedChange> = Vec::with_capacity(pairs.len());
    let mut refused = None;
    for (name, value) in pairs {
        let given = String::from_utf8_lossy(name).into_owned();
        let Some(setting) = declared(&given) else {
            return Err(format!("ERR Unknown option or number of arguments for CONFIG SET - '{given}'"));
        };
        if setting.change == Change::Fixed {
            refused.get_or_insert_with(|| failed(&given, "can't set immutable config"));
        } else if changes.iter().any(|(_, earlier, _)| earlier.name == setting.name) {
            refused.get_or_insert_with(|| failed(&given, "duplicate parameter"));
        }
        changes.push((given, setting, value));
    }
    refused.map_or(Ok(changes), Err)
}

fn failed(name: &str, reason: &str) -> String {
    format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")
}

#[cfg(test)]
mod tests {
    use super::super::Profile;
    use super::*;

    fn set(settings: &mut Settings, pairs: &[(&str, &str)]) -> Result<Vec<&'static str>, String> {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        settings.config_set(&pairs)
    }

    #[test]
    fn several_pairs_are_set_together() {
        let mut settings = Settings::defaults(Profile::Ordinary);
        assert_eq!(set(&mut settings, &[("MAXCLIENTS", "50"), ("hz", "20")]), Ok(vec!["maxclients", "hz"]));
        assert_eq!(settings.maxclients, 50);
        assert_eq!(settings.matching(|name| name == "hz"), [("hz", "20".to_owned())]);
    }

    #[test]
    fn one_bad_pair_leaves_all_as_they_were() {
        let mut settings = Settings::defaults(Profile::Ordinary);
        let error = set(&mut settings, &[("maxclients", "50"), ("timeout", "abc")]).expect_err("abc is no number");
        assert_eq!(
            error,
            "ERR CONFIG SET failed (possibly related to argument 'timeout') - argument couldn't be parsed into an integer"
        );
        assert_eq!(settings.maxclients, 10_000);
    }

    #[test]
    fn refusals_are_the_lines_of_redis() {
        let check = |pairs: &[(&str, &str)], expected: &str| {
            let error = set(&mut Settings::defaults(Profile::Ordinary), pairs).expect_err(expected);
            assert_eq!(error, expected);
        };
        check(&[("nope", "1")], "ERR Unknown option or number of arguments for CONFIG SET - 'nope'");
        check(
            &[("databases", "3"), ("nope", "1")],
            "ERR Unknown option or number of arguments for CONFIG SET - 'nope'",
        );
        check(
            &[("databases", "4")],
            "ERR CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config",
        );
        check(
            &[("hz", "10"), ("hz", "20")],
            "ERR CONFIG SET failed (possibly related to argument 'hz') - duplicate parameter",
        );
        check(
            &[("maxmemory-policy", "allkeys-lru")],
            "ERR CONFIG SET failed (possibly related to argument 'maxmemory-policy') - \
             argument(s) must be one of the following: noeviction",
        );
        check(
            &[("maxmemory", "1mb")],
            "ERR CONFIG SET failed (possibly related to argument 'maxmemory') - \
             argument must be between 33554432 and 9223372036854775807 inclusive",
        );
    }

    #[test]
    fn a_setting_answers_to_both_its_names() {
        let mut settings = Settings::defaults(Profile::Ordinary);
        set(&mut settings, &[("lua-time-limit", "7")]).expect("the older name works");
        let found = settings.matching(|name| name.contains("time-limit") || name.starts_with("busy"));
        assert_eq!(found, [("busy-reply-threshold", "7".to_owned()), ("lua-time-limit", "7".to_owned())]);
    }
}
