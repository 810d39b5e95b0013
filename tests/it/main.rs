//! Integration tests: the real binary, spoken to over real sockets by blocking clients.
//!
//! Sizes come from the environment, so that the same tests run small with `cargo test` and in full on demand; each file
//! names its variables at its top. `MILLPOND_TEST_SERVER=redis-server` runs every test that makes sense there against a
//! real Redis instead of Millpond: that is how the tests themselves are known to be right.
#![expect(clippy::disallowed_methods, reason = "these tests measure a real server in real time")]

mod harness;

mod bad_input;
mod beyond_ram;
mod crash;
mod declared;
mod differential;
mod disk;
mod figures;
mod jobs;
mod ledger;
mod long_log;
mod memory;
mod power;
mod startup;
mod tidy;
mod wakeups;
