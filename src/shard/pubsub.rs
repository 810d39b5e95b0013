//! Who listens to which channel and pattern.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::glob;
use crate::session::ClientId;

/// See the module.
#[derive(Debug, Default)]
pub struct PubSub {
    channels: BTreeMap<Bytes, BTreeSet<ClientId>>,
    patterns: BTreeMap<Bytes, BTreeSet<ClientId>>,
}

impl PubSub {
    /// Notes that a client listens, or no longer.
    pub fn listen(&mut self, client: ClientId, name: &Bytes, pattern: bool, on: bool) {
        let names = if pattern { &mut self.patterns } else { &mut self.channels };
        if on {
            names.entry(name.clone()).or_default().insert(client);
        } else if let Some(clients) = names.get_mut(name) {
            clients.remove(&client);
            if clients.is_empty() {
                names.remove(name);
            }
        }
    }

    /// Everybody who gets a message on a channel, with the pattern through which, if so.
    pub fn listeners(&self, channel: &[u8]) -> Vec<(ClientId, Option<Bytes>)> {
        let direct = self.channels.get(channel).into_iter().flatten().map(|client| (*client, None));
        let matching = self.patterns.iter().filter(|(pattern, _)| glob::matches(pattern, channel));
        let through =
            matching.flat_map(|(pattern, clients)| clients.iter().map(|client| (*client, Some(pattern.clone()))));
        direct.chain(through).collect()
    }

    /// Channels with the number of their listeners, by name.
    pub fn channels(&self) -> Vec<(Bytes, usize)> {
        self.channels.iter().map(|(name, clients)| (name.clone(), clients.len())).collect()
    }

    pub fn channel_count(&self) -> usize {
        self.channels.len()
    }

    pub fn pattern_count(&self) -> usize {
        self.patterns.len()
    }
}
