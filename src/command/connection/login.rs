//! Who a client is and how it speaks: AUTH and HELLO. There is one user, `default`, with one password or none.

use bytes::Bytes;

use crate::command::argument::{integer, is};
use crate::command::{Command, Context, Group, Keys, Outcome, REDIS_VERSION};
use crate::resp::{Error, Protocol, Reply};
use crate::session::Session;
use crate::settings::Settings;

use super::ALWAYS;
use super::client::check_name;

const USER: &[u8] = b"default";

const NO_PASSWORD: Error = Error::constant(
    "ERR AUTH <password> called without any password configured for the default user. \
     Are you sure your configuration is correct?",
);
const WRONG_PASSWORD: Error = Error::constant("WRONGPASS invalid username-password pair or user is disabled.");
const HELLO_BEFORE_LOGIN: Error = Error::constant(
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> \
     option can be used to authenticate the client and select the RESP protocol version at the same time",
);

pub const COMMANDS: &[Command] = &[
    Command {
        name: "auth",
        run: log_in,
        syntax: "[username] password",
        summary: "Authenticates the connection.",
        since: "1.0.0",
        group: Group::Connection,
        complexity: "O(N) where N is the number of passwords defined for the user",
        flags: ALWAYS,
        keys: Keys::None,
        examples: &["AUTH secret", "AUTH default secret", "AUTH somebody secret", "AUTH a b c", "AUTH"],
    },
    Command {
        name: "hello",
        run: hello,
        syntax: "[protover [AUTH username password] [SETNAME clientname]]",
        summary: "Handshakes with the server.",
        since: "6.0.0",
        group: Group::Connection,
        complexity: "O(1)",
        flags: ALWAYS,
        keys: Keys::None,
        examples: &["HELLO 4", "HELLO x", "HELLO 3 AUTH default", "HELLO 3 SETNAME \"a b\"", "HELLO"],
    },
];

/// Tells whether a client may send any command, or must log in first.
pub fn is_admitted(settings: &Settings, session: &Session) -> bool {
    settings.requirepass.is_none() || session.authenticated
}

fn log_in(context: &mut Context, request: &[Bytes]) -> Outcome {
    match &request[1..] {
        [_] if context.host.settings().requirepass.is_none() => return Err(NO_PASSWORD.into()),
        [password] => authenticate(context, USER, password)?,
        [user, password] => authenticate(context, user, password)?,
        _ => return Err(Error::SYNTAX.into()),
    }
    Ok(Reply::Ok)
}

/// Logs the client in. Without a password in the settings every password is right, as in Redis.
fn authenticate(context: &mut Context, user: &[u8], password: &[u8]) -> Result<(), Error> {
    let expected = context.host.settings().requirepass.as_deref();
    if user != USER || !expected.is_none_or(|expected| is_equal(expected.as_bytes(), password)) {
        return Err(WRONG_PASSWORD);
    }
    context.session.authenticated = true;
    Ok(())
}

/// Compares without telling by its time how much was right.
fn is_equal(expected: &[u8], given: &[u8]) -> bool {
    let differences = expected.iter().zip(given).fold(0, |differences, (a, b)| differences | (a ^ b));
    expected.len() == given.len() && std::hint::black_box(differences) == 0
}

fn hello(context: &mut Context, request: &[Bytes]) -> Outcome {
    let protocol = request.get(1).map(|text| protocol(text)).transpose()?;
    let options = Options::read(request.get(2..).unwrap_or_default())?;
    if let Some((user, password)) = options.login {
        authenticate(context, user, password)?;
    }
    if !is_admitted(context.host.settings(), context.session) {
        return Err(HELLO_BEFORE_LOGIN.into());
    }
    if let Some(name) = options.name {
        context.session.name = Bytes::copy_from_slice(name);
    }
    if let Some(protocol) = protocol {
        context.session.protocol = protocol;
    }
    Ok(greeting(context.session))
}

fn protocol(text: &[u8]) -> Result<Protocol, Error> {
    match integer(text) {
        Ok(2) => Ok(Protocol::Resp2),
        Ok(3) => Ok(Protocol::Resp3),
        Ok(_) => Err(Error::constant("NOPROTO unsupported protocol version")),
        Err(_) => Err(Error::constant("ERR Protocol version is not an integer or out of range")),
    }
}

/// What stands behind the version.
#[derive(Default)]
struct Options<'a> {
    login: Option<(&'a Bytes, &'a Bytes)>,
    name: Option<&'a Bytes>,
}

impl<'a> Options<'a> {
    fn read(mut rest: &'a [Bytes]) -> Result<Options<'a>, Error> {
        let mut options = Options::default();
        while let [option, arguments @ ..] = rest {
            rest = match arguments {
                [user, password, rest @ ..] if is(option, "AUTH") => {
                    options.login = Some((user, password));
                    rest
                }
                [name, rest @ ..] if is(option, "SETNAME") => {
                    check_name(name)?;
                    options.name = Some(name);
                    rest
                }
                _ => {
                    let option = String::from_utf8_lossy(option);
                    return Err(Error::new(format!("ERR Syntax error in HELLO option '{option}'")));
                }
            };
        }
        Ok(options)
    }
}

fn greeting(session: &Session) -> Reply {
    let version = if session.protocol == Protocol::Resp3 { 3 } else { 2 };
    let fields = [
        ("server", Reply::bulk("redis")),
        ("version", Reply::bulk(REDIS_VERSION)),
        ("proto", Reply::Integer(version)),
        ("id", Reply::Integer(session.id as i64)),
        ("mode", Reply::bulk("standalone")),
        ("role", Reply::bulk("master")),
        ("modules", Reply::Array(Vec::new())),
    ];
    Reply::Map(fields.into_iter().map(|(name, value)| (Reply::bulk(name), value)).collect())
}

#[cfg(test)]
mod tests {
    use super::is_admitted;
    use crate::command::testing::Bench;
    use crate::resp::Protocol;

    fn locked() -> Bench {
        let mut bench = Bench::default();
        bench.host.settings.requirepass = Some("secret".to_owned());
        bench.session.authenticated = false;
        bench
    }

    #[test]
    fn only_the_whole_password_of_the_only_user_is_right() {
        let mut bench = locked();
        for line in ["AUTH secre", "AUTH secret2", "AUTH \"\"", "AUTH somebody secret", "HELLO 3 AUTH default x"] {
            assert!(bench.resp2(line).starts_with("-WRONGPASS "), "{line}");
            assert!(!is_admitted(&bench.host.settings, &bench.session), "{line}");
        }
        assert_eq!(bench.resp2("AUTH default secret"), "+OK\r\n");
        assert!(is_admitted(&bench.host.settings, &bench.session));
    }

    #[test]
    fn hello_changes_nothing_before_the_login() {
        let mut bench = locked();
        assert!(bench.resp2("HELLO 3 SETNAME a").starts_with("-NOAUTH HELLO must be called"));
        assert_eq!((bench.session.protocol, bench.session.name.len()), (Protocol::Resp2, 0));
        bench.run("HELLO 3 SETNAME a AUTH default secret");
        assert_eq!((bench.session.protocol, &bench.session.name[..]), (Protocol::Resp3, &b"a"[..]));
    }

    #[test]
    fn reset_logs_out_and_forgets_all_but_the_library() {
        let mut bench = locked();
        for line in ["AUTH secret", "SELECT 3", "HELLO 3 SETNAME a", "CLIENT SETINFO lib-ver 1", "CLIENT REPLY OFF"] {
            bench.run(line);
        }
        bench.run("RESET");
        let session = &bench.session;
        assert!(!session.authenticated && session.name.is_empty() && session.database == 0);
        assert_eq!(session.protocol, Protocol::Resp2);
        assert_eq!(session.reply_mode, crate::session::ReplyMode::On);
        assert_eq!(&session.library_version[..], b"1");
    }
}
