//! Power loss: after a `kill -9`, pages that were written but never synced get their old bytes back, each or not at random.
//!
//! A small library (`power_shim.c`, compiled here with `cc` and preloaded into the server) keeps the old bytes of every
//! page until a sync of its file completes. With `always` nothing answered may be lost; with `everysec` nothing that was
//! answered before the last completed sync of the log began; and the server must start by itself.
//! `a_missing_sync_is_noticed` takes the syncs away and demands that the same check fails.
//!
//! - `MILLPOND_TEST_POWER_ROUNDS` cuts per policy (3; 50 in full)
//! - `MILLPOND_TEST_POWER_SEED`

use crate::harness::{self, Chance, Server};
use crate::ledger::{Ledger, write_while};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

const CLIENTS: usize = 4;
const PAGE_BYTES: u64 = 4096;

#[test]
fn what_was_answered_survives_a_power_cut_when_synced_always() {
    let lost = check("always", "always", true);
    assert_eq!(lost, Ok(()));
}

#[test]
fn what_was_answered_before_the_last_sync_survives_a_power_cut_when_synced_every_second() {
    let lost = check("everysec", "everysec", true);
    assert_eq!(lost, Ok(()));
}

#[test]
fn what_was_answered_survives_a_power_cut_when_config_set_has_turned_always_on() {
    let lost = check("no", "always", true);
    assert_eq!(lost, Ok(()));
}

#[test]
fn a_missing_sync_is_noticed() {
    if !compiler_or_explain() {
        return;
    }
    let noticed = check("always", "always", false).expect_err("syncs that do nothing must lose answered writes");
    println!("noticed: {}", noticed.lines().next().unwrap_or_default());
}

#[test]
fn a_flipped_byte_in_what_was_synced_is_refused_with_its_place() {
    if harness::is_stand_in() {
        return;
    }
    let mut server = Server::millpond(&["--appendfsync", "always"]);
    let mut client = server.client();
    for n in 0..200 {
        client.must(&["SET", &format!("key:{n}"), &format!("a value that is looked for, number {n};")]);
    }
    server.kill9();

    let marker = |n: u32| format!("a value that is looked for, number {n};");
    let place_of = |n| find(&server.directory(), marker(n).as_bytes()).expect("the log holds what was just written");
    let (path, place) = place_of(100);
    let (path_before, place_before) = place_of(99);
    assert_eq!(path, path_before, "neighbours are in one file");
    let file = File::options().read(true).write(true).open(&path).expect("the log can be written");
    file.write_all_at(b"A", place).expect("a byte can be changed");
    let why = server.try_start().expect_err("a damaged log must be refused");
    assert!(why.contains("did not start: it ended"), "{why}");
    let name = path.file_name().expect("a file").to_string_lossy().into_owned();
    // The frame begins behind the value of the one before and ahead of its own.
    let begins = place_before + marker(99).len() as u64..=place;
    let named =
        place_named(&server.log(), &name).unwrap_or_else(|| panic!("no place in {name}:\n{}", server.log_tail()));
    assert!(begins.contains(&named), "byte {named} of {name} is named, the frame begins in {begins:?}");

    file.write_all_at(b"a", place).expect("a byte can be changed");
    server.start();
    assert_eq!(server.client().must(&["GET", "key:199"]).text(), "a value that is looked for, number 199;");
}

/// The byte of a file of the log at which a message says that a frame cannot be read.
fn place_named(log: &str, file: &str) -> Option<u64> {
    let (_, after) = log.split_once(&format!("{file} at byte "))?;
    after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Cuts the power again and again; an error says what was lost. Without syncs they claim success and do nothing.
///
/// The server is started with one policy and told the other before anything is written.
fn check(first_policy: &str, policy: &str, with_syncs: bool) -> Result<(), String> {
    if !compiler_or_explain() {
        return Ok(());
    }
    let mut chance = Chance::new(harness::seed_from_environment("MILLPOND_TEST_POWER_SEED"));
    let rounds = harness::size_from_environment("MILLPOND_TEST_POWER_ROUNDS", 3);
    let mut server = Server::millpond(&["--appendfsync", first_policy]);
    let shim = compile_shim(server.home());
    server.term();

    let mut ledgers = (0..CLIENTS).map(|client| Ledger::new(client, chance.fork())).collect::<Vec<_>>();
    for round in 0..rounds {
        let undo_path = server.home().join(format!("undo-{round}"));
        start_under_shim(&mut server, &shim, &undo_path, with_syncs);
        server.client().must(&["CONFIG", "SET", "appendfsync", policy]);
        if round == 0 {
            // The first check has nothing behind it; it only begins the ledgers' state.
            verify(&mut ledgers, &server, None)?;
        }
        // Longer than a second, so that with everysec at least one sync completes under load.
        let life = Duration::from_millis(chance.between(1300, 2600) as u64);
        let cut_at = write_while(&mut ledgers, server.port(), || {
            thread::sleep(life);
            server.kill9();
            harness::monotonic_now()
        });
        let undo = Undo::read(&undo_path, &server.directory());
        // With everysec Redis answers before it writes while a sync is under way, Millpond never does.
        let slack = Duration::from_millis(if harness::is_stand_in() { 200 } else { 0 });
        let kept_until = undo.kept_until().map(|kept| kept.saturating_sub(slack));
        println!(
            "{policy} round {round}: {} answered so far, {} syncs of the log, {} unsynced pages, all before {:?} is kept",
            ledgers.iter().map(|ledger| ledger.answered_in_total).sum::<u64>(),
            undo.log_syncs,
            undo.unsynced_pages(),
            kept_until.map(|kept| cut_at.saturating_sub(kept)),
        );
        if with_syncs && undo.log_syncs == 0 {
            return Err("no sync of the log completed".into());
        }
        // Redis cannot start with a hole in its file; what is appended to it is lost as a whole.
        let lost_share = if harness::is_stand_in() || !with_syncs { 100 } else { *chance.pick(&[100, 50, 50, 10]) };
        undo.apply(&mut chance, lost_share);
        std::fs::remove_file(&undo_path).expect("the undo file can be removed");

        server.set_environment(&[]);
        server.try_start()?;
        let bound = if policy == "always" { None } else { Some(kept_until.unwrap_or(Duration::ZERO)) };
        verify(&mut ledgers, &server, bound).map_err(|why| format!("{policy}, round {round}: {why}"))?;
        let status = server.term();
        assert!(status.success(), "SIGTERM: {status}");
    }
    Ok(())
}

fn verify(ledgers: &mut [Ledger], server: &Server, moment: Option<Duration>) -> Result<(), String> {
    let mut client = server.client();
    ledgers.iter_mut().try_for_each(|ledger| match moment {
        None => ledger.verify_nothing_answered_is_lost(&mut client),
        Some(moment) => ledger.verify_nothing_answered_before_is_lost(&mut client, moment),
    })
}

fn start_under_shim(server: &mut Server, shim: &Path, undo: &Path, with_syncs: bool) {
    let directory = server.directory();
    let text = |path: &Path| path.to_str().expect("temporary paths are text").to_owned();
    let (shim, undo, directory) = (text(shim), text(undo), text(&directory));
    let mut environment = vec![
        ("LD_PRELOAD", &*shim),
        ("MILLPOND_TEST_POWER_UNDO", &*undo),
        ("MILLPOND_TEST_POWER_DIRECTORY", &*directory),
    ];
    if !with_syncs {
        environment.push(("MILLPOND_TEST_POWER_SWALLOW", "yes"));
    }
    server.set_environment(&environment);
    server.start();
}

fn compile_shim(home: &Path) -> PathBuf {
    let library = home.join("power_shim.so");
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/power_shim.c"))
        .args(["-ldl", "-lpthread"])
        .output()
        .expect("cc runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}

fn compiler_or_explain() -> bool {
    let found = Command::new("cc").arg("--version").output().is_ok_and(|output| output.status.success());
    let explanation = "power-loss tests did not run: cc is missing";
    assert!(found || std::env::var("CI").as_deref() != Ok("true"), "{explanation}");
    if !found {
        eprintln!("{explanation}");
    }
    found
}

fn find(directory: &Path, marker: &[u8]) -> Option<(PathBuf, u64)> {
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            if let Some(found) = find(&path, marker) {
                return Some(found);
            }
        } else if path.to_string_lossy().contains("/log/") {
            let bytes = std::fs::read(&path).expect("a file can be read");
            if let Some(place) = bytes.windows(marker.len()).position(|window| window == marker) {
                return Some((path, place as u64));
            }
        }
    }
    None
}

/// What the shim wrote down: the old bytes of all pages that no completed sync covers.
struct Undo {
    /// By the file's inode number.
    files: BTreeMap<u64, FileUndo>,
    log_syncs: u64,
    /// When the last completed sync of a log file began.
    last_log_sync: Option<Duration>,
}

#[derive(Default)]
struct FileUndo {
    path: Option<PathBuf>,
    /// For each page its older contents, oldest first.
    pages: BTreeMap<u64, Vec<OldPage>>,
}

struct OldPage {
    generation: u64,
    written_at: Duration,
    file_bytes: u64,
    /// None stands for zeros.
    bytes: Option<Vec<u8>>,
}

impl Undo {
    fn read(path: &Path, directory: &Path) -> Undo {
        let mut undo = Undo { files: BTreeMap::new(), log_syncs: 0, last_log_sync: None };
        undo.find_paths(directory);
        let mut reader = BufReader::with_capacity(1 << 20, File::open(path).expect("the shim has begun its file"));
        let mut head = [0; 64];
        let mut records = 0_u64;
        while reader.read_exact(&mut head).is_ok() {
            records += 1;
            let word =
                |place: usize| u64::from_le_bytes(head[place * 8..place * 8 + 8].try_into().expect("eight bytes"));
            let (kind, inode, generation) = (word(0), word(1), word(2));
            let at = Duration::from_nanos(word(4));
            let file = undo.files.entry(inode).or_default();
            match kind {
                1 => {
                    let mut bytes = (word(6) == 1).then(|| vec![0; PAGE_BYTES as usize]);
                    // The kill may have cut the last record, whose page was then not written to yet either.
                    if bytes.as_mut().is_some_and(|bytes| reader.read_exact(bytes).is_err()) {
                        break;
                    }
                    let old = OldPage { generation, written_at: at, file_bytes: word(5), bytes };
                    file.pages.entry(word(3)).or_default().push(old);
                }
                2 => {
                    for olds in file.pages.values_mut() {
                        olds.retain(|old| old.generation > generation);
                    }
                    file.pages.retain(|_, olds| !olds.is_empty());
                    if file.is_log() {
                        undo.log_syncs += 1;
                        undo.last_log_sync = undo.last_log_sync.max(Some(at));
                    }
                }
                3 => file.pages.clear(),
                4 => {}
                other => panic!("the shim wrote a record of kind {other}"),
            }
        }
        assert!(records > 0, "the shim saw no write: is the server linked statically?");
        undo
    }

    fn find_paths(&mut self, directory: &Path) {
        for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
            let metadata = entry.metadata().expect("nothing changes after the kill");
            if metadata.is_dir() {
                self.find_paths(&entry.path());
            } else {
                self.files.entry(metadata.ino()).or_default().path = Some(entry.path());
            }
        }
    }

    fn unsynced_pages(&self) -> usize {
        self.files.values().map(|file| file.pages.len()).sum()
    }

    /// The moment before which everything answered must be kept: a sync of the log began then and completed, and no
    /// older write to the log is still unsynced in another of its files.
    fn kept_until(&self) -> Option<Duration> {
        let logs = self.files.values().filter(|file| file.is_log());
        let oldest_unsynced = logs.flat_map(|file| file.pages.values()).map(|olds| olds[0].written_at).min();
        let synced = self.last_log_sync?;
        Some(oldest_unsynced.map_or(synced, |unsynced| unsynced.min(synced)))
    }

    /// Gives each unsynced page its old bytes back, or not.
    fn apply(&self, chance: &mut Chance, lost_percent: i64) {
        for file in self.files.values() {
            let Some(path) = &file.path else { continue };
            if file.pages.is_empty() {
                continue;
            }
            let handle = File::options().write(true).open(path).expect("a data file can be written");
            let size_now = handle.metadata().expect("a size").len();
            let size_before = file.pages.values().map(|olds| olds[0].file_bytes).min().unwrap_or(0);
            let mut end = size_before;
            for (page, olds) in &file.pages {
                if chance.between(1, 100) > lost_percent {
                    end = end.max(((page + 1) * PAGE_BYTES).min(size_now));
                    continue;
                }
                let old = if lost_percent == 100 { &olds[0] } else { chance.pick(olds) };
                let zeros = vec![0; PAGE_BYTES as usize];
                let bytes = old.bytes.as_deref().unwrap_or(&zeros);
                // A file that was cut gets its tail back; one that has grown is not lengthened by the page's zeros.
                let room = size_now.max(old.file_bytes).saturating_sub(page * PAGE_BYTES).min(PAGE_BYTES);
                handle.write_all_at(&bytes[..room as usize], page * PAGE_BYTES).expect("a page can be put back");
            }
            // The new length may be lost as well, or kept, with zeros where the data were.
            if size_now > end && (lost_percent == 100 || chance.one_in(2)) {
                handle.set_len(end).expect("a file can be cut");
            }
        }
    }
}

impl FileUndo {
    fn is_log(&self) -> bool {
        let path = self.path.as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
        path.contains("/log/") || path.contains("appendonlydir")
    }
}
