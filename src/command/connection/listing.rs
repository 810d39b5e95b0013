//! All connections, as CLIENT LIST shows and CLIENT KILL chooses them.

use std::time::Duration;

use bytes::Bytes;

use crate::command::argument::{integer, is};
use crate::command::{Context, Host, Outcome};
use crate::keyspace::Keyspace;
use crate::resp::{Error, Protocol, Reply};
use crate::session::{ClientId, Session};

/// What Redis calls the type of a client. Replicas and masters never connect here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClientType {
    Normal,
    PubSub,
    Master,
    Replica,
}

impl ClientType {
    fn read(text: &[u8]) -> Result<ClientType, Error> {
        let types = [
            ("normal", ClientType::Normal),
            ("pubsub", ClientType::PubSub),
            ("master", ClientType::Master),
            ("replica", ClientType::Replica),
            ("slave", ClientType::Replica),
        ];
        let found = types.into_iter().find(|(name, _)| is(text, name)).map(|(_, found)| found);
        found.ok_or_else(|| Error::new(format!("ERR Unknown client type '{}'", String::from_utf8_lossy(text))))
    }

    fn of(session: &Session) -> ClientType {
        if session.subscriptions() > 0 { ClientType::PubSub } else { ClientType::Normal }
    }
}

/// All sessions, the caller's own among them, in the order of their numbers.
pub fn everybody<'a>(host: &'a dyn Host, own: &'a Session) -> Vec<&'a Session> {
    let mut sessions = host.sessions();
    let place = sessions.partition_point(|other| other.id < own.id);
    sessions.insert(place, own);
    sessions
}

/// One line of CLIENT LIST, with its line end. What is not counted by client is 0.
pub fn line(session: &Session, keys: &Keyspace, mono: Duration) -> String {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    format!(
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={} psub={} ssub=0 multi={} watch={} \
         qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd={} \
         user=default redir=-1 resp={} lib-name={} lib-ver={}\n",
        session.id,
        session.peer.address,
        session.peer.local_address,
        session.peer.fd,
        text(&session.name),
        mono.saturating_sub(session.connected_at).as_secs(),
        mono.saturating_sub(session.last_command_at).as_secs(),
        flags(session, keys),
        session.database,
        session.channels.len(),
        session.patterns.len(),
        session.transaction.as_ref().map_or(-1, |transaction| transaction.queue.len() as i64),
        session.watching.len(),
        session.last_command,
        if session.protocol == Protocol::Resp3 { 3 } else { 2 },
        text(&session.library_name),
        text(&session.library_version),
    )
}

/// Redis' letters, in its order.
fn flags(session: &Session, keys: &Keyspace) -> String {
    let letters = [
        ('P', session.subscriptions() > 0),
        ('x', session.transaction.is_some()),
        ('b', session.blocked),
        ('d', keys.is_touched(session.id)),
        ('c', session.closing),
        ('U', session.peer.unix_socket),
        ('e', session.no_evict),
        ('T', session.no_touch),
    ];
    let set: String = letters.into_iter().filter(|(_, set)| *set).map(|(letter, _)| letter).collect();
    if set.is_empty() { "N".to_owned() } else { set }
}

pub fn list(context: &mut Context, request: &[Bytes]) -> Outcome {
    let everybody = everybody(&*context.host, context.session);
    let wanted: Vec<&Session> = match &request[2..] {
        [] => everybody,
        [option, name] if is(option, "TYPE") => {
            let wanted = ClientType::read(name)?;
            everybody.into_iter().filter(|session| ClientType::of(session) == wanted).collect()
        }
        [option, ids @ ..] if is(option, "ID") && !ids.is_empty() => {
            let ids = ids.iter().map(|id| integer(id).map_err(|_| Error::constant("ERR Invalid client ID")));
            let ids = ids.collect::<Result<Vec<i64>, Error>>()?;
            let find = |id: &i64| everybody.binary_search_by_key(id, |session| session.id as i64).ok();
            ids.iter().filter_map(|id| Some(everybody[find(id)?])).collect()
        }
        _ => return Err(Error::SYNTAX.into()),
    };
    let lines = wanted.into_iter().map(|session| line(session, context.keys, context.now.mono));
    Ok(Reply::Verbatim(lines.collect::<String>().into()))
}

/// Which clients CLIENT KILL means; all that is said must hold.
struct Choice<'a> {
    id: Option<ClientId>,
    kind: Option<ClientType>,
    address: Option<&'a Bytes>,
    local_address: Option<&'a Bytes>,
    age_min: Option<Duration>,
    spare_caller: bool,
}

impl<'a> Choice<'a> {
    fn by_address(address: &'a Bytes) -> Choice<'a> {
        let address = Some(address);
        Choice { id: None, kind: None, address, local_address: None, age_min: None, spare_caller: false }
    }

    fn read(mut options: &'a [Bytes]) -> Result<Choice<'a>, Error> {
        let mut choice =
            Choice { id: None, kind: None, address: None, local_address: None, age_min: None, spare_caller: true };
        while let [option, rest @ ..] = options {
            let [value, rest @ ..] = rest else { return Err(Error::SYNTAX) };
            choice.set(option, value)?;
            options = rest;
        }
        Ok(choice)
    }

    fn set(&mut self, option: &[u8], value: &'a Bytes) -> Result<(), Error> {
        let positive = |error| integer(value).ok().filter(|number| *number > 0).ok_or(Error::constant(error));
        match option.to_ascii_uppercase().as_slice() {
            b"ID" => self.id = Some(positive("ERR client-id should be greater than 0")? as ClientId),
            b"TYPE" => self.kind = Some(ClientType::read(value)?),
            b"ADDR" => self.address = Some(value),
            b"LADDR" => self.local_address = Some(value),
            b"MAXAGE" => {
                let seconds = positive("ERR maxage should be greater than 0")?;
                self.age_min = Some(Duration::from_secs(seconds as u64));
            }
            // Everybody is the same user.
            b"USER" if **value == *b"default" => {}
            b"USER" => return Err(Error::new(format!("ERR No such user '{}'", String::from_utf8_lossy(value)))),
            b"SKIPME" if is(value, "YES") => self.spare_caller = true,
            b"SKIPME" if is(value, "NO") => self.spare_caller = false,
            _ => return Err(Error::SYNTAX),
        }
        Ok(())
    }

    fn means(&self, session: &Session, mono: Duration) -> bool {
        self.id.is_none_or(|id| session.id == id)
            && self.kind.is_none_or(|kind| ClientType::of(session) == kind)
            && self.address.is_none_or(|address| session.peer.address.as_bytes() == *address)
            && self.local_address.is_none_or(|address| session.peer.local_address.as_bytes() == *address)
            && self.age_min.is_none_or(|age| mono.saturating_sub(session.connected_at) >= age)
    }
}

pub fn kill(context: &mut Context, request: &[Bytes]) -> Outcome {
    let by_address = request.len() == 3;
    let choice = if by_address { Choice::by_address(&request[2]) } else { Choice::read(&request[2..])? };
    let own = context.session.id;
    let chosen: Vec<ClientId> = everybody(&*context.host, context.session)
        .into_iter()
        .filter(|session| choice.means(session, context.now.mono) && !(choice.spare_caller && session.id == own))
        .map(|session| session.id)
        .collect();
    let mut killed = 0;
    for client in chosen {
        // The caller still gets its reply.
        let gone = client == own || context.host.kill(client);
        context.session.closing |= client == own;
        killed += i64::from(gone);
    }
    match by_address {
        false => Ok(Reply::Integer(killed)),
        true if killed > 0 => Ok(Reply::Ok),
        true => Err(Error::constant("ERR No such client").into()),
    }
}
