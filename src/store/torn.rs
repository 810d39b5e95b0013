//! Cuts a torn commit off the end of fjall's journal.
//!
//! A power cut in the middle of a sync leaves pages of the last commit unwritten. Where the hole lies between two rows
//! fjall cuts the commit off by itself; where it lies inside a value fjall sees a wrong checksum and refuses to open,
//! for ever. Nobody was told that this commit is durable, so it may go. Every commit before it had been synced, so a
//! wrong checksum there is real damage, and stays an error.
//!
//! A commit in fjall 3's journal, numbers little-endian:
//!
//! | part | bytes |
//! |---|---|
//! | start | `1`, rows u32, sequence number u64 |
//! | row | `2`, value type u8, compression u8, keyspace u64, key length u16, value length u32, stored length u32, key, stored value |
//! | end | `3`, xxh3 of all rows u64, `FJL` `3` |

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

/// A row without its tag, key and value.
const ROW_HEAD_BYTES: usize = 20;
const END_MAGIC: [u8; 4] = *b"FJL\x03";

/// Shortens the newest journal in `directory` by a torn last commit, and says whether there was one.
pub(super) fn cut(directory: &Path) -> io::Result<bool> {
    let Some(journal) = newest_journal(directory)? else { return Ok(false) };
    let mut reader = Reader { file: BufReader::new(File::open(&journal)?), position: 0 };
    loop {
        let start = reader.position;
        match reader.commit() {
            Ok(Commit::Whole) => {}
            Ok(Commit::Torn) if reader.only_zeros_follow()? => {
                let file = OpenOptions::new().write(true).open(&journal)?;
                file.set_len(start)?;
                file.sync_all()?;
                return Ok(true);
            }
            Ok(Commit::Torn | Commit::None) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

fn newest_journal(directory: &Path) -> io::Result<Option<std::path::PathBuf>> {
    let mut newest = None;
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(number) = name.strip_suffix(".jnl").and_then(|number| number.parse::<u64>().ok()) {
            newest = newest.max(Some((number, path)));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

enum Commit {
    Whole,
    /// It ends where it should and its checksum is wrong.
    Torn,
    /// Something else, which is fjall's to judge.
    None,
}

struct Reader {
    file: BufReader<File>,
    position: u64,
}

impl Reader {
    fn commit(&mut self) -> io::Result<Commit> {
        let [1] = self.take::<1>()? else { return Ok(Commit::None) };
        let start = self.take::<12>()?;
        let mut rows_left = u32::from_le_bytes(start[..4].try_into().expect("four bytes"));
        let mut checksum = Xxh3::new();
        loop {
            match self.take::<1>()? {
                [2] if rows_left > 0 => {
                    rows_left -= 1;
                    self.row(&mut checksum)?;
                }
                [3] => {
                    let end = self.take::<12>()?;
                    let expected = u64::from_le_bytes(end[..8].try_into().expect("eight bytes"));
                    return Ok(match end[8..] == END_MAGIC {
                        false => Commit::None,
                        true if rows_left == 0 && checksum.digest() == expected => Commit::Whole,
                        true => Commit::Torn,
                    });
                }
                _ => return Ok(Commit::None),
            }
        }
    }

    fn row(&mut self, checksum: &mut Xxh3) -> io::Result<()> {
        checksum.update(&[2]);
        let head = self.take::<ROW_HEAD_BYTES>()?;
        checksum.update(&head);
        let key_bytes = u16::from_le_bytes(head[10..12].try_into().expect("two bytes"));
        let stored_bytes = u32::from_le_bytes(head[16..20].try_into().expect("four bytes"));
        let mut left = u64::from(key_bytes) + u64::from(stored_bytes);
        let mut piece = [0; 4096];
        while left > 0 {
            let piece = &mut piece[..left.min(4096) as usize];
            self.fill(piece)?;
            checksum.update(piece);
            left -= piece.len() as u64;
        }
        Ok(())
    }

    fn only_zeros_follow(&mut self) -> io::Result<bool> {
        let mut piece = [0; 4096];
        loop {
            match self.file.read(&mut piece)? {
                0 => return Ok(true),
                bytes if piece[..bytes].iter().any(|byte| *byte != 0) => return Ok(false),
                _ => {}
            }
        }
    }

    fn take<const BYTES: usize>(&mut self) -> io::Result<[u8; BYTES]> {
        let mut bytes = [0; BYTES];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact(bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{FjallStore, Space, Store, StoreError, Write};

    const ROWS: u8 = 40;

    /// Makes three commits, then puts a hole into the middle of one.
    fn open_with_a_hole(commit: u8, hole: usize) -> (tempfile::TempDir, Result<FjallStore, StoreError>) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = FjallStore::open(directory.path(), 1 << 20).expect("the store opens");
        for commit in 1..=3u8 {
            let rows = (1..=ROWS).map(|row| Write::put(Space::Rows, [commit, row], [commit; 1000]));
            store.commit(rows.collect()).expect("commits");
        }
        drop(store);
        let journal = newest_journal(directory.path()).expect("reads").expect("there is one");
        let mut bytes = std::fs::read(&journal).expect("reads");
        let middle = bytes.windows(8).position(|window| window == [commit; 8]).expect("the value is there") + 10_500;
        bytes[middle..middle + hole].fill(0);
        std::fs::write(&journal, bytes).expect("writes");
        let opened = FjallStore::open(directory.path(), 1 << 20);
        (directory, opened)
    }

    fn commits(store: &FjallStore) -> Vec<u8> {
        let has = |commit: u8, row: u8| store.get(Space::Rows, &[commit, row]).expect("reads").is_some();
        (1..=3).filter(|commit| (1..=ROWS).all(|row| has(*commit, row))).collect()
    }

    #[test]
    fn a_commit_torn_by_a_power_cut_is_cut_off() {
        // A hole inside one value, and one over several rows, which fjall notices by itself.
        for hole in [100, 5_000] {
            let (directory, opened) = open_with_a_hole(3, hole);
            let store = opened.unwrap_or_else(|error| panic!("hole of {hole}: {error}"));
            assert_eq!(commits(&store), [1, 2], "hole of {hole}");
            assert_eq!(store.get(Space::Rows, &[3, 1]).expect("reads"), None, "hole of {hole}: all or none");
            store.commit(vec![Write::put(Space::Rows, "a", "1")]).expect("the journal goes on");
            drop(store);
            let store = FjallStore::open(directory.path(), 1 << 20).expect("opens again");
            assert_eq!(store.get(Space::Rows, b"a").expect("reads").as_deref(), Some(&b"1"[..]));
        }
    }

    #[test]
    fn damage_before_the_last_commit_stays_an_error() {
        let (_directory, opened) = open_with_a_hole(2, 100);
        let Err(error) = opened else { panic!("opened over damage") };
        assert!(error.to_string().contains("ChecksumMismatch"), "{error}");
    }
}
