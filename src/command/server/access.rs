//! ACL: there is one user, who may do everything. Lists of users cannot be changed; its password is the setting `requirepass`.

use bytes::Bytes;

use crate::command::category::{CATEGORIES, categories};
use crate::command::container::{container, help_of, wrong_form};
use crate::command::{Command, Context, Flag, Group, Keys, Outcome, table};
use crate::resp::{Error, Reply};

const OWN: &[Flag] = &[Flag::NoScript, Flag::Loading, Flag::Stale];
const ALL: &[Flag] = &[Flag::Admin, Flag::NoScript, Flag::Loading, Flag::Stale];

const USER: &str = "default";
/// Stands for a password, of which not even the hash is told.
const HIDDEN: &str = "****************************************************************";

pub const COMMANDS: &[Command] = &[
    container("acl", "6.0.0", Group::Server, "A container for Access List Control commands.", &["ACL", "ACL NOSUCH"]),
    Command {
        name: "acl|whoami",
        run: |_, _| Ok(Reply::bulk(USER)),
        summary: "Returns the authenticated username of the current connection.",
        flags: OWN,
        examples: &["ACL WHOAMI", "ACL WHOAMI x"],
        ..ABOUT_USERS
    },
    Command {
        name: "acl|users",
        run: |_, _| Ok(Reply::Array(vec![Reply::bulk(USER)])),
        summary: "Lists all users.",
        examples: &["ACL USERS"],
        ..ABOUT_USERS
    },
    Command {
        name: "acl|list",
        run: |context, _| {
            let password = if has_password(context) { format!("#{HIDDEN}") } else { "nopass".to_owned() };
            Ok(Reply::Array(vec![Reply::bulk(format!("user {USER} on {password} ~* &* +@all"))]))
        },
        summary: "Dumps the effective rules in ACL file format, without passwords.",
        examples: &["ACL LIST"],
        ..ABOUT_USERS
    },
    Command {
        name: "acl|getuser",
        run: |context, request| {
            if *request[2] != *USER.as_bytes() {
                return Ok(Reply::Null);
            }
            Ok(rules(has_password(context)))
        },
        syntax: "username",
        summary: "Lists the ACL rules of a user, without passwords.",
        examples: &["ACL GETUSER default", "ACL GETUSER nosuch"],
        ..ABOUT_USERS
    },
    Command {
        name: "acl|cat",
        run: category,
        syntax: "[category]",
        summary: "Lists the ACL categories, or the commands inside a category.",
        flags: OWN,
        examples: &["ACL CAT", "ACL CAT transaction", "ACL CAT nosuch", "ACL CAT a b"],
        ..ABOUT_USERS
    },
    help_of("acl|help", "6.0.0", Group::Server, &["ACL HELP"]),
];

/// What most subcommands have in common.
const ABOUT_USERS: Command = Command {
    name: "",
    run: |_, request| Err(wrong_form(request).into()),
    syntax: "",
    summary: "",
    since: "6.0.0",
    group: Group::Server,
    complexity: "O(1)",
    flags: ALL,
    keys: Keys::None,
    examples: &[],
};

fn has_password(context: &Context) -> bool {
    context.host.settings().requirepass.is_some()
}

fn rules(password: bool) -> Reply {
    let bulks = |texts: &[&str]| texts.iter().map(Reply::bulk).collect::<Vec<_>>();
    let fields = [
        ("flags", Reply::Set(bulks(if password { &["on"] } else { &["on", "nopass"] }))),
        ("passwords", Reply::Array(bulks(if password { &[HIDDEN] } else { &[] }))),
        ("commands", Reply::bulk("+@all")),
        ("keys", Reply::bulk("~*")),
        ("channels", Reply::bulk("&*")),
        ("selectors", Reply::Array(Vec::new())),
    ];
    Reply::Map(fields.into_iter().map(|(name, value)| (Reply::bulk(name), value)).collect())
}

fn category(_: &mut Context, request: &[Bytes]) -> Outcome {
    let wanted = match &request[2..] {
        [] => return Ok(Reply::Array(CATEGORIES.iter().map(Reply::bulk).collect())),
        [name] => String::from_utf8_lossy(name).to_lowercase(),
        _ => return Err(wrong_form(request).into()),
    };
    if !CATEGORIES.contains(&&*wanted) {
        let given = String::from_utf8_lossy(&request[2]);
        return Err(Error::new(format!("ERR Unknown category '{given}'")).into());
    }
    let members = table().filter(|command| categories(command).any(|category| category == wanted));
    Ok(Reply::Array(members.map(|command| Reply::bulk(command.name)).collect()))
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;

    #[test]
    fn a_password_is_not_told() {
        let mut bench = Bench::default();
        assert_eq!(bench.resp2("ACL LIST"), "*1\r\n$34\r\nuser default on nopass ~* &* +@all\r\n");
        bench.host.settings.requirepass = Some("hunter2".to_owned());
        for line in ["ACL LIST", "ACL GETUSER default"] {
            let reply = bench.resp2(line);
            assert!(!reply.contains("hunter2") && !reply.contains("nopass"), "{reply}");
        }
    }
}
